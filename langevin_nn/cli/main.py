"""The entry point of the command line, and the exit code of every way in which a command may end.

Bad input ends in one line and exit code 2, a run that has not converged in exit code 3, a sweep
with points that failed, and `theory` where every one failed, in 1, Ctrl-C in 130, output whose
reader has gone in 141. JAX is imported only inside the commands, after the arguments are
understood.
"""

import sys
from collections.abc import Sequence

from langevin_nn.cli import environment
from langevin_nn.cli.arguments import parse
from langevin_nn.cli.codes import BAD_INPUT, INTERRUPTED, UNREAD
from langevin_nn.cli.commands import COMMANDS
from langevin_nn.cli.startup import begin_process, not_swallowed
from langevin_nn.cli.streams import (
    complain,
    discard_broken,
    leave,
    open_streams,
    set_encodings,
    stages,
)
from langevin_nn.errors import InputError
from langevin_nn.import_paths import own_failure
from langevin_nn.memory import is_out_of_memory
from langevin_nn.values import shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    is_process = arguments is None
    if is_process:
        open_streams()
        environment.settle()
        begin_process()
        stages.is_shown = True
    set_encodings()
    code = _execute(sys.argv[1:] if arguments is None else list(arguments))
    if is_process and code == INTERRUPTED:
        # All is saved and given back. What XLA still compiles in its threads would go on for
        # seconds, and then end the process by a signal.
        leave(code)
    return code


def _execute(words: list[str]) -> int:
    """Execute the command that the words say; return the exit code, whatever happens."""
    try:
        with not_swallowed():
            parsed = parse(words)
            stages.is_shown &= not getattr(parsed, "quiet", False)
            code = COMMANDS[parsed.command].execute(parsed)
            stages.end()
            sys.stdout.flush()
        return code
    except InputError as error:
        complain(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        stages.end()
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        discard_broken()
        return UNREAD
    except (Exception, SystemExit) as error:
        if is_out_of_memory(error):
            complain(f"not enough memory ({error}): write fewer examples, units or chains")
            return BAD_INPUT
        if (failure := own_failure(error)) is not None:
            complain(str(failure))
            return BAD_INPUT
        if not isinstance(error, OSError):
            raise
        # Files have words of their own; left are standard output and a folder that has gone.
        discard_broken()
        where = shown(error.filename) if error.filename else "the output"
        complain(f"cannot use {where}: {error.strerror or error}")
        return BAD_INPUT
