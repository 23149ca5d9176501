"""`langevin-nn sweep`: run a grid of configurations, or say where one stands."""

import argparse
import errno
import re
import shlex
import sys
from pathlib import Path

from langevin_nn.cli.codes import FAILED, INTERRUPTED, NOT_CONVERGED
from langevin_nn.cli.fields import add_fields, fields_of
from langevin_nn.cli.output import default_output, obstacle_advice, write_unless_quiet
from langevin_nn.cli.progress import SweepCommandProgress, tell
from langevin_nn.cli.startup import configure_jax, loading, not_swallowed
from langevin_nn.cli.streams import stages
from langevin_nn.cli.words import Once, count, path
from langevin_nn.errors import InputError
from langevin_nn.sweeps import grid
from langevin_nn.sweeps.axes import over_of
from langevin_nn.sweeps.executors import EXECUTORS
from langevin_nn.values import clipped

SUMMARY = "run a grid of configurations, or say where one stands"
USAGE = """CONFIG.toml --over FIELD=VALUES ... [--seeds N]
                         [--output DIR] [--executor serial|local|slurm]
                         [--workers N] [--task I/N] [--theory-only | --extend]
                         [--quiet]
                         [--SECTION.FIELD VALUE ...]
       langevin-nn sweep --status DIR"""
EXAMPLE = """an example, over temperatures and the read-out's prior precision; and more
draws of the points that have not converged:
  langevin-nn sweep my.toml --over posterior.temperature=0.01,0.1,1 \\
    --over prior.precisions[-1]=0.5,2 --seeds 3 --output sweeps/mine
  langevin-nn sweep sweeps/mine/sweep.toml --extend --sampler.num_samples 4000"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the file, its fields, the axes, and who works."""
    parser.add_argument("config", type=path, metavar="CONFIG.toml", nargs="?")
    parser.add_argument(
        "--over", action="append", metavar="FIELD=VALUES",
        help="an axis of the grid: a field, or one entry of a list as in prior.precisions[-1]",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", type=count, action=Once, metavar="N", help="N seeds, from the file's own on"
    )
    parser.add_argument(
        "--output", type=path, action=Once, metavar="DIR", help="the folder (sweeps/NAME-HASH)"
    )
    parser.add_argument(
        "--executor", action=Once, choices=EXECUTORS,
        help="this process, processes of this machine, or jobs (as [sweep.slurm] says); "
        "left out: as [sweep] says, else this process",
    )  # fmt: skip
    parser.add_argument(
        "--workers",
        type=count,
        action=Once,
        metavar="N",
        help="how many (local: as many as GPUs, else cores)",
    )
    parser.add_argument(
        "--task", action=Once, metavar="I/N", help="only every N-th task, from the I-th (0 ...)"
    )
    parser.add_argument(
        "--status", type=path, action=Once, metavar="DIR", help="where the sweep in DIR stands"
    )
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument(
        "--extend", action="store_true",
        help="go on with the points of a finished sweep that have not converged, or whose errors "
        "are larger than the target, to more draws or a smaller target_error",
    )  # fmt: skip
    kinds.add_argument(
        "--theory-only", action="store_true",
        help="the theories' numbers at each point, without sampling, in seconds; T = 0 is allowed",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="no progress, no table")
    add_fields(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Do the sweep or its task; the code is that of the worst of its points."""
    if arguments.status is not None:
        _require_status_alone(arguments)
        return _status(arguments.status)
    wanted = _grid_of(arguments)
    if arguments.theory_only:
        return _theory_only(arguments, wanted)
    # A task of a job array is worked off by its own process, whatever the table says.
    table = {} if arguments.task else grid.execution(arguments.config)
    with loading():
        from langevin_nn.sampling.engine.kept_weights import require_disk
        from langevin_nn.sweeps import engine, executors, extending, kept_weights, report
        from langevin_nn.sweeps.folder import SweepFolder

        settings = executors.chosen(table, arguments.executor, arguments.workers)
        executors.check(**settings)
        executor, workers = settings["executor"], settings["workers"]
        configure_jax(workers=executor != "serial")
    index, num_parts = arguments.task or (0, executors.number_of_workers(executor, workers))
    output = _output(arguments, wanted)
    planned = extending.plan(SweepFolder(output), wanted) if arguments.extend else None
    weights_files = kept_weights.planned(SweepFolder(output), wanted, planned)
    require_disk(weights_files)
    folder = engine.begin(wanted, output, num_parts, planned=planned)
    if planned and not arguments.quiet:
        tell(extending.in_line(folder, planned))
    if weights_files and stages.is_shown:
        tell(kept_weights.in_line(weights_files, folder))
    tasks = folder.tasks[index::num_parts] if arguments.task else folder.tasks
    for line in report.damaged(folder, tasks):
        tell(line)
    try:
        with not_swallowed(), SweepCommandProgress(arguments.quiet) as progress:
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
            f"{obstacle_advice(error)}what was saved stays{_remedy(error, output)}"
        ) from error
    write_unless_quiet(arguments, report.report(folder, results, len(done)))
    names = [folder.name_of(point) for task in tasks for point in task.points]
    selected = results.point.isin(names)
    if bool((selected & (results.status != "done")).any()):
        return FAILED
    return NOT_CONVERGED if bool((selected & ~results.converged).any()) else 0


def _output(arguments: argparse.Namespace, wanted: grid.Grid) -> Path:
    """The folder of the sweep; what is extended must be named, or be that of its sweep.toml."""
    if arguments.output:
        return arguments.output
    if not arguments.extend:
        return default_output(arguments.config, wanted.content_hash, "sweeps")
    if arguments.config.name == "sweep.toml":
        return arguments.config.parent
    raise InputError(
        "--extend needs the sweep: write --output with its folder, or DIR/sweep.toml as the "
        "configuration"
    )


def _theory_only(arguments: argparse.Namespace, wanted: grid.Grid) -> int:
    """Ask the theories at each point; the code is `FAILED` where they say nothing at one."""
    if others := [name for name in ("executor", "workers", "task") if getattr(arguments, name)]:
        raise InputError(
            f"--theory-only samples nothing, got --{others[0]} beside it: write one of the two"
        )
    with loading():
        from langevin_nn import plotting
        from langevin_nn.runs import tables
        from langevin_nn.sweeps import engine, report
        from langevin_nn.sweeps.folder import SweepFolder

        configure_jax()
    output = arguments.output or default_output(arguments.config, wanted.content_hash, "sweeps")
    with not_swallowed(), SweepCommandProgress(arguments.quiet) as progress:
        results = engine.expect(wanted, output, progress)
    folder = SweepFolder(output)
    with plotting.own_settings():
        figures = plotting.grid_figures(results, tables.caption(*wanted.points))
        plotting.save(figures, folder.figures)
    write_unless_quiet(arguments, report.theory_report(folder, results))
    return FAILED if bool((results.status == "failed").any()) else 0


def _status(path: Path) -> int:
    with loading():
        from langevin_nn.sweeps import folder, report, results, status
    sweep_folder = folder.SweepFolder.existing(path)
    text = report.standing(
        sweep_folder, status.status(sweep_folder), results.collected(sweep_folder)
    )
    sys.stdout.write(f"{text}\n")
    return 0


def _grid_of(arguments: argparse.Namespace) -> grid.Grid:
    """The grid of a sweep; replaces the text `arguments.task` by two numbers."""
    if arguments.config is None:
        raise InputError(
            "sweep needs a configuration: write langevin-nn sweep CONFIG.toml --over FIELD=VALUES, "
            "or langevin-nn sweep --status DIR"
        )
    arguments.task = _task(arguments.task)
    over = over_of(arguments.over or [])
    return grid.load(arguments.config, fields_of(arguments), over, arguments.seeds)


def _require_status_alone(arguments: argparse.Namespace) -> None:
    """Raise `InputError` for words beside `sweep --status DIR`, which would have no effect."""
    others = [f"--{name}" for name in fields_of(arguments)]
    own_options = (
        "over", "seeds", "output", "executor", "workers", "task", "theory_only", "extend", "quiet"
    )  # fmt: skip
    given = (name for name in own_options if getattr(arguments, name))
    others += [f"--{name.replace('_', '-')}" for name in given]
    others += [str(arguments.config)] if arguments.config else []
    if others:
        raise InputError(
            f"sweep --status DIR says where the sweep in DIR stands, got {others[0]} beside it: "
            "write one of the two"
        )


def _task(word: str | None) -> tuple[int, int] | None:
    """The two numbers in a text such as `3/10`: a task's index and the number of parts."""
    if word is None:
        return None
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", word)
    index, num_parts = (int(match[1]), int(match[2])) if match else (1, 0)
    if index >= num_parts:
        raise InputError(
            f"--task {clipped(word)}: write I/N with I from 0 to N - 1, for example "
            "--task 0/10 … 9/10"
        )
    return index, num_parts


def _remedy(error: OSError, output: Path) -> str:
    """The advice how to go on with a sweep after an error of the file system."""
    if not output.is_dir():
        return (
            f" in {output}, which is no longer there: if it was renamed, go on with --output and "
            "its new name"
        )
    room = "" if error.errno == errno.EISDIR else "; make room, and"
    return f"{room or ';'} go on with the same command"
