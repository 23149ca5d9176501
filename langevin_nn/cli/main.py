"""The command line: `langevin-nn run | sweep | theory | plot | report | data | info`.

Bad input ends in one line and exit code 2, a run that has not converged in exit code 3, a sweep
with points that failed, and `theory` where every one failed, in 1, Ctrl-C in 130. This module
imports JAX only inside the commands, after the arguments are understood.
"""

import argparse
import errno
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langevin_nn.cli import environment
from langevin_nn.cli.arguments import (
    config_of,
    default_output,
    grid_of,
    parse,
    require_status_alone,
)
from langevin_nn.cli.progress import RunProgress, SweepProgress, tell
from langevin_nn.cli.startup import configure_jax, loading, not_swallowed, remember_interrupts
from langevin_nn.cli.streams import (
    complain,
    discard_broken,
    leave,
    open_streams,
    set_encodings,
    warn,
    warnings_as_lines,
)
from langevin_nn.config.fields import shown
from langevin_nn.errors import InputError
from langevin_nn.footprint import TightMemory
from langevin_nn.memory import is_out_of_memory
from langevin_nn.sweeps import grid

if TYPE_CHECKING:
    from langevin_nn.config.record import RunConfig
    from langevin_nn.runs.folder import RunFolder
    from langevin_nn.theory.suite import Predictions

FAILED, BAD_INPUT, NOT_CONVERGED, INTERRUPTED = 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    is_process = arguments is None
    if is_process:
        open_streams()
        environment.settle()
        remember_interrupts()
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
            code = COMMANDS[parsed.command](parsed)
            sys.stdout.flush()
        return code
    except InputError as error:
        complain(str(error))
        return BAD_INPUT
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        discard_broken()
        return FAILED
    except (OSError, MemoryError, RuntimeError, ValueError, ImportError) as error:
        if is_out_of_memory(error):
            complain(f"not enough memory ({error}): write fewer examples, units or chains")
            return BAD_INPUT
        if not isinstance(error, OSError):
            raise
        # Files have words of their own; left are standard output and a folder that has gone.
        discard_broken()
        where = shown(error.filename) if error.filename else "the output"
        complain(f"cannot use {where}: {error.strerror or error}")
        return BAD_INPUT


def run_command(arguments: argparse.Namespace) -> int:
    config = config_of(arguments)
    with loading():
        from langevin_nn.runs import run, tables
        from langevin_nn.runs.folder import RunFolder

        configure_jax()
    problem = run.prepare(config)
    warn("" if arguments.quiet else problem.warning)
    folder = RunFolder(
        arguments.output or default_output(arguments.config, problem.config.content_hash)
    )
    flags = {"resume": arguments.resume, "overwrite": arguments.overwrite}
    claim = folder.claimed(
        problem.config, **flags, data=problem.data.provenance, modules=problem.modules
    )
    try:
        with not_swallowed(), claim, RunProgress(arguments.quiet) as progress:
            if folder.is_finished:
                plot_line = shlex.join(["langevin-nn", "plot", str(folder.path)])
                _write_unless_quiet(
                    arguments, f"{folder.path} is finished; its figures again: {plot_line}"
                )
                folder.check_finished()
                converged = folder.load_summary().experiment.converged
                return 0 if converged else NOT_CONVERGED
            if arguments.resume and not folder.has_state:
                tell(f"{folder.path} has no saved state to go on from: the run begins anew")
            predictions = run.expect(problem)
            if config.theory:
                _require_theories(config, predictions)
            result = run.run(
                problem, folder, resume=arguments.resume, progress=progress, predictions=predictions
            )
    except KeyboardInterrupt:
        sys.stderr.write(f"\ninterrupted: {_resume_advice(arguments, folder)}\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"writing into {folder.path} failed ({error.strerror or error}): "
            f"{_obstacle_advice(error)}{_resume_advice(arguments, folder, error)}"
        ) from error
    _write_unless_quiet(
        arguments, f"{tables.report(result, problem.data)}\n\nrun folder: {folder.path}"
    )
    return 0 if result.measured.converged else NOT_CONVERGED


def sweep_command(arguments: argparse.Namespace) -> int:
    if arguments.status is not None:
        require_status_alone(arguments)
        return _sweep_status(arguments.status)
    wanted = grid_of(arguments)
    # A task of a job array is worked off by its own process, whatever the table says.
    table = {} if arguments.task else grid.execution(arguments.config)
    with loading():
        from langevin_nn.sweeps import engine, executors, report

        settings = executors.chosen(table, arguments.executor, arguments.workers)
        executors.check(**settings)
        executor, workers = settings["executor"], settings["workers"]
        configure_jax(workers=executor != "serial")
    index, num_parts = arguments.task or (0, executors.number_of_workers(executor, workers))
    output = arguments.output or default_output(arguments.config, wanted.content_hash, "sweeps")
    folder = engine.begin(wanted, output, num_parts)
    tasks = folder.tasks[index::num_parts] if arguments.task else folder.tasks
    for line in report.damaged(folder, tasks):
        tell(line)
    try:
        with not_swallowed(), SweepProgress(arguments.quiet) as progress:
            done = engine.work_off(folder, tasks, **settings, progress=progress)
        results = engine.gather(folder)
    except KeyboardInterrupt:
        command = shlex.join(["langevin-nn", *arguments.words])
        sys.stderr.write(f"\ninterrupted: what was saved stays; go on with: {command}\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"writing into {output} failed ({error.strerror or error}): "
            f"{_obstacle_advice(error)}what was saved stays{_remedy(error, output)}"
        ) from error
    _write_unless_quiet(arguments, report.report(folder, results, len(done)))
    selected = results.point.isin([point for task in tasks for point in task.points])
    if bool((selected & (results.status != "done")).any()):
        return FAILED
    return NOT_CONVERGED if bool((selected & ~results.converged).any()) else 0


def _sweep_status(path: Path) -> int:
    with loading():
        from langevin_nn.sweeps import folder, report, results, status
    sweep_folder = folder.SweepFolder.existing(path)
    text = report.standing(
        sweep_folder, status.status(sweep_folder), results.collected(sweep_folder)
    )
    sys.stdout.write(f"{text}\n")
    return 0


def theory_command(arguments: argparse.Namespace) -> int:
    config = config_of(arguments)
    with loading():
        from langevin_nn.analysis.comparison import theory_table
        from langevin_nn.files import require_no_folder
        from langevin_nn.runs import run, tables
        from langevin_nn.theory.suite import predict

        configure_jax()
    config, ensemble = run.prepare_theory(config)
    if arguments.plot is not None and not arguments.plot.absolute().parent.is_dir():
        raise InputError(f"--plot {arguments.plot}: its folder does not exist")
    if arguments.plot is not None:
        require_no_folder(arguments.plot, "another name")
    with warnings_as_lines(TightMemory):
        predictions = predict(ensemble, config.theory)
    _require_theories(config, predictions)
    if arguments.json:
        text = json.dumps(run.theory_json(ensemble, predictions), indent=2, allow_nan=False)
    else:
        heading = tables.heading(config, ensemble.data)
        table = theory_table(predictions.results.values())
        text = "\n".join([heading, "", table, "", *tables.remarks(predictions)])
    if arguments.plot is not None:
        try:
            run.draw_theory(ensemble, predictions, tables.caption(config), arguments.plot)
        except OSError as error:
            raise InputError(f"cannot write {arguments.plot}: {error.strerror or error}") from error
    sys.stdout.write(text + "\n")
    if any(result.converged for result in predictions.results.values()):
        return 0
    reasons = (f"{name}: {result.message}" for name, result in predictions.results.items())
    tell(f"no theory has a result ({'; '.join(reasons)})")
    return FAILED


def _require_theories(config: "RunConfig", predictions: "Predictions") -> None:
    """Raise `InputError` where not one of the theories that were asked for applies."""
    if predictions.results:
        return
    if config.theory == ():
        raise InputError("theory = [] asks for no theory: write their names, or leave it out")
    reasons = "; ".join(dict.fromkeys(predictions.not_applicable.values()))
    complaint = (
        "no theory applies" if config.theory is None else f"{', '.join(config.theory)}: none"
    )
    raise InputError(f"{complaint} ({reasons})")


def plot_command(arguments: argparse.Namespace) -> int:
    with loading():
        from langevin_nn.analysis.generalisation import summarise
        from langevin_nn.runs import run
        from langevin_nn.runs.folder import RunFolder

        configure_jax()
    folder = RunFolder(arguments.folder)
    config = folder.load_config()
    chains, theories = folder.load_results()
    try:
        run.draw_figures(folder, config, chains, summarise(chains), theories)
    except OSError as error:
        raise InputError(
            f"cannot write into {folder.figures} ({error.strerror or error}): copy the run folder "
            "to a place that can be written"
        ) from error
    sys.stdout.write("".join(f"{path}\n" for path in sorted(folder.figures.glob("*.png"))))
    return 0


def report_command(arguments: argparse.Namespace) -> int:
    with loading():
        from langevin_nn.reports.report import report
    sys.stdout.write(f"{report(arguments.folder, arguments.output)}\n")
    return 0


def data_command(arguments: argparse.Namespace) -> int:
    with loading():
        from langevin_nn.analysis.comparison import aligned
        from langevin_nn.data import image_files
    if arguments.action == "list":
        if arguments.name is not None:
            raise InputError(f"data list takes no name, got {arguments.name}: write data list")
        rows = [["name", "here", "where", "what"]]
        for source in image_files.available():
            rows.append([source.name, "yes" if source.present else "no", source.where, source.what])
        sys.stdout.write(aligned(rows) + "\n")
        return 0
    if arguments.name is None:
        raise InputError("data fetch needs a name, for example: langevin-nn data fetch mnist")
    for path in image_files.fetch(arguments.name):
        sys.stdout.write(f"{path}\n")
    return 0


def info_command(arguments: argparse.Namespace) -> int:
    with loading():
        from langevin_nn.runs import provenance

        configure_jax()
    sections = {
        "versions": provenance.versions(),
        "device": provenance.device(),
        "precision": provenance.precision(),
        "git": provenance.git_state(Path(provenance.__file__).parent) or {"commit": None},
    }
    for title, content in sections.items():
        sys.stdout.write(f"{title}\n")
        sys.stdout.writelines(f"  {name:<20} {value}\n" for name, value in content.items())
    return 0


COMMANDS = {
    "run": run_command,
    "sweep": sweep_command,
    "theory": theory_command,
    "plot": plot_command,
    "report": report_command,
    "data": data_command,
    "info": info_command,
}


def _obstacle_advice(error: OSError) -> str:
    """The advice to move a folder that stands in a file's place; empty for other errors."""
    if error.errno != errno.EISDIR or not (name := error.filename2 or error.filename):
        return ""
    return f"{name} is a folder where a file is to be: move it away; "


def _remedy(error: OSError, output: Path) -> str:
    """The advice how to go on with a sweep after an error of the file system."""
    if not output.is_dir():
        return (
            f" in {output}, which is no longer there: if it was renamed, go on with --output and "
            "its new name"
        )
    room = "" if error.errno == errno.EISDIR else "; make room, and"
    return f"{room or ';'} go on with the same command"


def _resume_advice(
    arguments: argparse.Namespace, folder: "RunFolder", error: OSError | None = None
) -> str:
    """What is saved of a run that was interrupted or failed, and how to go on with it."""
    if error and error.errno == errno.ENOENT and not folder.path.is_dir():
        return (
            "the folder is no longer there: if it was renamed, what was saved is in it; go on with "
            "--output and its new name, and --resume"
        )
    if not folder.has_state:
        return "nothing had been saved yet, and nothing is left behind"
    if folder.is_finished:
        return "the run in it is finished"
    words = [word for word in arguments.words if word not in ("--resume", "--overwrite")]
    output = [] if arguments.output else ["--output", str(folder.path)]
    command = shlex.join(["langevin-nn", *words, *output, "--resume"])
    return f"what was saved stays; go on with: {command}"


def _write_unless_quiet(arguments: argparse.Namespace, text: str) -> None:
    """Write a text and a line break to standard output, unless --quiet was given."""
    if not arguments.quiet:
        sys.stdout.write(text + "\n")
