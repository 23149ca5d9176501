"""`langevin-nn run`: sample a posterior and compare it with the theories."""

import argparse
import contextlib
import errno
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from langevin_nn.cli.codes import INTERRUPTED, NOT_CONVERGED
from langevin_nn.cli.commands.theory import require_theories
from langevin_nn.cli.fields import add_fields, config_of
from langevin_nn.cli.output import default_output, obstacle_advice, write_unless_quiet
from langevin_nn.cli.progress import RunCommandProgress, tell
from langevin_nn.cli.startup import configure_jax, loading, not_swallowed
from langevin_nn.cli.streams import stages, warn
from langevin_nn.cli.words import Once, add_formats, path
from langevin_nn.config.sampler import AUTO
from langevin_nn.errors import InputError
from langevin_nn.import_paths import own_failure

if TYPE_CHECKING:
    from langevin_nn.config.record import RunConfig
    from langevin_nn.runs.folder import RunFolder

SUMMARY = "sample a posterior and compare it with the theories"
USAGE = """CONFIG.toml [--output DIR] [--SECTION.FIELD VALUE ...]
                       [--resume | --extend | --overwrite] [--dry-run]
                       [--format FORMAT ...] [--quiet]"""
EXAMPLE = """an example, and the same run with more draws:
  langevin-nn run my.toml --posterior.temperature 0.01 --output runs/cold
  langevin-nn run runs/cold/config.toml --extend --sampler.num_samples 4000"""
FLAGS = ("--resume", "--extend", "--overwrite")
"""The options that say what becomes of the run in the folder."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the file, its fields, and what is to become of the folder."""
    parser.add_argument("config", type=path, metavar="CONFIG.toml")
    parser.add_argument(
        "--output", type=path, action=Once, metavar="DIR", help="the run folder (runs/NAME-HASH)"
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    existing.add_argument(
        "--extend", action="store_true",
        help="go on with the finished run in the folder, to more draws or a smaller target_error",
    )  # fmt: skip
    existing.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    parser.add_argument(
        "--dry-run", action="store_true",
        help="say what it would take: sizes, memory, and the time by some seconds of sampling; "
        "with --resume what is left of it",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")
    add_formats(parser)
    add_fields(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do the run; the code is `NOT_CONVERGED` where it has not converged."""
    config = config_of(arguments)
    stages.begin("loading JAX")
    with loading():
        from langevin_nn.runs import extending, forecast, run, tables
        from langevin_nn.runs.folder import RunFolder

        configure_jax()
    stages.begin(f"reading {config.data.source}")
    problem = run.prepare(config)
    warn("" if arguments.quiet else problem.warning)
    folder = RunFolder(_output(arguments, problem.config))
    extends = arguments.extend or (
        arguments.resume and extending.is_under_way(folder, problem.config)
    )
    data, modules = problem.data.provenance, problem.modules
    begun = folder.extension if extends and folder.extension.has_state else folder
    kept_weights = run.weights_file(problem, begun.weights)
    if kept_weights:
        kept_weights.require_disk()
    if arguments.dry_run:
        if arguments.resume and not extends:
            folder.require_resumable(problem.config, problem.data.provenance, problem.modules)
            if folder.is_finished:
                sys.stdout.write(f"{folder.path} is finished: nothing is left to do\n")
                return 0
            _tell_if_anew(folder)
        checkpoint, ended = folder.checkpoint if arguments.resume else None, None
        if extends and folder.extension.has_state:
            checkpoint = folder.extension.checkpoint
        elif extends:
            ended = extending.ended(folder, problem.config, data=data, modules=modules).reached
        stages.begin("compiling and measuring the pace")
        text = forecast.forecast(problem, kept_weights, checkpoint, ended)
        stages.end()
        sys.stdout.write(f"{text}\n\nrun folder: {folder.path}, of which nothing was written\n")
        return 0
    claim = folder.claimed(
        problem.config, resume=arguments.resume, overwrite=arguments.overwrite, data=data,
        modules=modules,
    )  # fmt: skip
    formats, has_report = arguments.format or ["png"], False
    if extends:
        claim = extending.claimed(folder, problem.config, data=data, modules=modules)
        formats = arguments.format or folder.figure_formats or formats
        has_report = folder.has_report
    try:
        with not_swallowed(), claim as target, RunCommandProgress(arguments.quiet) as progress:
            if target.is_finished:
                plot_line = shlex.join(["langevin-nn", "plot", str(folder.path)])
                write_unless_quiet(
                    arguments, f"{folder.path} is finished; its figures again: {plot_line}"
                )
                folder.check_finished(with_all_weights=True)
                converged = folder.load_summary().experiment.converged
                return 0 if converged else NOT_CONVERGED
            if arguments.resume:
                _tell_if_anew(target)
            stages.begin("theories")
            predictions = run.expect(problem)
            if config.theory:
                require_theories(config, predictions)
            if stages.is_shown:
                stages.end()
                lines = [tables.heading(problem.config, problem.data), "", predictions.table, ""]
                if kept_weights:
                    lines.append(f"all weights go into {folder.weights}: {kept_weights}")
                sys.stderr.write("\n".join(map(str, lines)) + "\n")
            chooses = problem.config.sampler.ladder == AUTO and not target.has_state
            stages.begin("pilot runs for the ladder" if chooses else "compiling")
            result = run.run(
                problem, target, resume=arguments.resume or extends, progress=progress,
                predictions=predictions, formats=formats,
            )  # fmt: skip
    except KeyboardInterrupt:
        stages.end()
        sys.stderr.write(f"\ninterrupted: {_resume_advice(arguments, folder, problem.config)}\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        if (failure := own_failure(error)) is not None:
            raise failure from error
        raise InputError(
            f"writing into {folder.path} failed ({error.strerror or error}): "
            f"{obstacle_advice(error)}{_resume_advice(arguments, folder, problem.config, error)}"
        ) from error
    write_unless_quiet(
        arguments, f"{tables.report(result, problem.data)}\n\nrun folder: {folder.path}"
    )
    if has_report:  # of the shorter run
        _write_report(folder)
    return 0 if result.measured.converged else NOT_CONVERGED


def _write_report(folder: "RunFolder") -> None:
    """Write the page of a run that had one before it was extended."""
    with loading():
        from langevin_nn.reports.report import report
    report(folder.path)


def _tell_if_anew(folder: "RunFolder") -> None:
    """Say on stderr that a run that is to be resumed has nothing to go on from."""
    if not folder.has_state:
        tell(f"{folder.path} has no saved state to go on from: the run begins anew")


def _output(arguments: argparse.Namespace, config: "RunConfig") -> Path:
    """The folder of the run; what is extended must be named, or be that of its config.toml."""
    if arguments.output:
        return arguments.output
    if not arguments.extend:
        return default_output(arguments.config, config.content_hash)
    if arguments.config.name == "config.toml":
        return arguments.config.parent
    raise InputError(
        "--extend needs the run: write --output with its folder, or DIR/config.toml as the "
        "configuration"
    )


def _resume_advice(
    arguments: argparse.Namespace,
    folder: "RunFolder",
    config: "RunConfig",
    error: OSError | None = None,
) -> str:
    """What is saved of a run that was interrupted or failed, and how to go on with it."""
    if error and error.errno == errno.ENOENT and not folder.path.is_dir():
        return (
            "the folder is no longer there: if it was renamed, what was saved is in it; go on with "
            "--output and its new name, and --resume"
        )
    if _has_finished(folder, config):
        return f"the run in {folder.path} is finished"
    extension = folder.extension
    if not (folder.has_state or extension.has_state):
        return "nothing had been saved yet, and nothing is left behind"
    words = [word for word in arguments.words if word not in FLAGS]
    output = [] if arguments.output else ["--output", str(folder.path)]
    flag = "--extend" if extension.has_state else "--resume"
    command = shlex.join(["langevin-nn", *words, *output, flag])
    return f"what was saved stays; go on with: {command}"


def _has_finished(folder: "RunFolder", config: "RunConfig") -> bool:
    """Whether the finished run in the folder is this one, and not one that it was to replace."""
    with contextlib.suppress(InputError):
        return folder.is_finished and folder.load_config().content_hash == config.content_hash
    return False
