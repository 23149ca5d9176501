"""The command line: `langevin-nn run | sweep | theory | plot | report | data | info`.

Bad input ends in one line and exit code 2, a run that has not converged in exit code 3, a sweep
with points that failed in 1, Ctrl-C in 130. This module imports JAX only inside the commands, after
the arguments are understood.
"""

import argparse
import contextlib
import io
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langevin_nn.arguments import config_of, grid_of, parse
from langevin_nn.errors import InputError
from langevin_nn.progress import RunProgress, SweepProgress
from langevin_nn.sweeps import grid

if TYPE_CHECKING:
    from langevin_nn.store import RunFolder

FAILED, BAD_INPUT, NOT_CONVERGED, INTERRUPTED = 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # the table, whatever the terminal's encoding
    try:
        parsed = parse(sys.argv[1:] if arguments is None else list(arguments))
        code = COMMANDS[parsed.command](parsed)
        sys.stdout.flush()
        return code
    except InputError as error:
        return _fail(str(error))
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _fail(f"not enough memory ({error}): write fewer examples, units or chains")
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone. What Python still wants to write when it ends goes nowhere.
        for stream in (sys.stdout, sys.stderr):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return 1


def run_command(arguments: argparse.Namespace) -> int:
    config = config_of(arguments)
    with _loading():
        from langevin_nn import run, store, tables

        _configure_jax()
    problem = run.prepare(config)
    folder = store.RunFolder(
        arguments.output or _default_output(arguments.config, problem.config.content_hash)
    )
    try:
        with (
            folder.claimed(problem.config, resume=arguments.resume, overwrite=arguments.overwrite),
            RunProgress(arguments.quiet) as progress,
        ):
            if folder.is_finished:
                again = shlex.join(["langevin-nn", "plot", str(folder.path)])
                _say(arguments, f"{folder.path} is finished; its figures again: {again}")
                converged = folder.load_summary()["experiment"]["converged"]
                return 0 if converged else NOT_CONVERGED
            result = run.run(problem, folder, resume=arguments.resume, progress=progress)
    except KeyboardInterrupt:
        sys.stderr.write(f"\ninterrupted: {_what_is_left(arguments, folder)}\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"writing into {folder.path} failed ({error.strerror or error}): "
            f"{_what_is_left(arguments, folder)}"
        ) from error
    _say(arguments, f"{tables.report(result)}\n\nrun folder: {folder.path}")
    return 0 if result.measured.converged else NOT_CONVERGED


def sweep_command(arguments: argparse.Namespace) -> int:
    if arguments.status is not None:
        return _sweep_status(arguments.status)
    wanted = grid_of(arguments)
    # A task of a job array is worked off by its own process, whatever the table says.
    table = {} if arguments.task else grid.execution(arguments.config)
    with _loading():
        from langevin_nn.sweeps import engine, executors, report

        settings = executors.chosen(table, arguments.executor, arguments.workers)
        executors.check(**settings)
        executor, workers = settings["executor"], settings["workers"]
        _configure_jax(workers=executor != "serial")
    which, parts = arguments.task or (0, executors.number_of_workers(executor, workers))
    output = arguments.output or _default_output(arguments.config, wanted.content_hash, "sweeps")
    folder = engine.begin(wanted, output, parts)
    tasks = folder.tasks[which::parts] if arguments.task else folder.tasks
    try:
        with SweepProgress(arguments.quiet) as progress:
            done = engine.work_off(folder, tasks, **settings, progress=progress)
        results = engine.gather(folder)
    except KeyboardInterrupt:
        again = shlex.join(["langevin-nn", *arguments.words])
        sys.stderr.write(f"\ninterrupted: what was saved stays; go on with: {again}\n")
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(
            f"writing into {output} failed ({error.strerror or error}): what was saved stays; "
            "make room, and go on with the same command"
        ) from error
    _say(arguments, report.report(folder, results, len(done)))
    mine = results.point.isin([point for task in tasks for point in task.points])
    if bool((mine & (results.status != "done")).any()):
        return FAILED
    return NOT_CONVERGED if bool((mine & ~results.converged).any()) else 0


def _sweep_status(path: Path) -> int:
    with _loading():
        from langevin_nn.sweeps import folder, report, results, status
    found = folder.SweepFolder.existing(path)
    text = report.standing(found, status.status(found), results.collect(path))
    sys.stdout.write(f"{text}\n")
    return 0


def theory_command(arguments: argparse.Namespace) -> int:
    config = config_of(arguments)
    with _loading():
        from langevin_nn import run, tables
        from langevin_nn.analysis.comparison import theory_table
        from langevin_nn.theory.suite import predict

        _configure_jax()
    config, data, spec = run.prepare_theory(config)
    if arguments.plot is not None and not arguments.plot.absolute().parent.is_dir():
        raise InputError(f"--plot {arguments.plot}: its folder does not exist")
    predictions = predict(spec, data, config.theory)
    if arguments.json:
        text = json.dumps(run.theory_json(spec, data, predictions), indent=2, allow_nan=False)
    else:
        table = theory_table(predictions.results.values())
        text = "\n".join([tables.caption(config), "", table, "", *tables.remarks(predictions)])
    if arguments.plot is not None:
        try:
            run.draw_theory(spec, data, predictions, tables.caption(config), arguments.plot)
        except OSError as error:
            raise InputError(f"cannot write {arguments.plot}: {error.strerror or error}") from error
    sys.stdout.write(text + "\n")
    return 0


def plot_command(arguments: argparse.Namespace) -> int:
    with _loading():
        from langevin_nn import run, store
        from langevin_nn.analysis.generalisation import summarise

        _configure_jax()
    folder = store.RunFolder(arguments.folder)
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
    with _loading():
        from langevin_nn.reports.report import report
    sys.stdout.write(f"{report(arguments.folder, arguments.output)}\n")
    return 0


def data_command(arguments: argparse.Namespace) -> int:
    with _loading():
        from langevin_nn.analysis.comparison import aligned
        from langevin_nn.model import raw_files
    if arguments.action == "list":
        if arguments.name is not None:
            raise InputError(f"data list takes no name, got {arguments.name}: write data list")
        rows = [["name", "here", "where", "what"]]
        for source in raw_files.available():
            rows.append([source.name, "yes" if source.present else "no", source.where, source.what])
        sys.stdout.write(aligned(rows) + "\n")
        return 0
    if arguments.name is None:
        raise InputError("data fetch needs a name, for example: langevin-nn data fetch mnist")
    for path in raw_files.fetch(arguments.name):
        sys.stdout.write(f"{path}\n")
    return 0


def info_command(arguments: argparse.Namespace) -> int:
    with _loading():
        from langevin_nn import provenance

        _configure_jax()
    parts = {
        "versions": provenance.versions(),
        "device": provenance.device(),
        "precision": provenance.precision(),
        "git": provenance.git_state(Path(provenance.__file__).parent) or {"commit": None},
    }
    for title, content in parts.items():
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


def _default_output(path: Path, content_hash: str, folder: str = "runs") -> Path:
    """`runs/NAME-HASH`: NAME from the file, or from its folder if it is a config.toml."""
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    return Path(folder) / f"{name or 'run'}-{content_hash}"


def _what_is_left(arguments: argparse.Namespace, folder: "RunFolder") -> str:
    """After an interruption: how to go on, if there is something to go on from."""
    if not folder.has_state:
        return "nothing had been saved yet, and nothing is left behind"
    words = [word for word in arguments.words if word not in ("--resume", "--overwrite")]
    output = [] if arguments.output else ["--output", str(folder.path)]
    line = shlex.join(["langevin-nn", *words, *output, "--resume"])
    return f"what was saved stays; go on with: {line}"


@contextlib.contextmanager
def _loading() -> Iterator[None]:
    """Ctrl-C ends the process at once: libraries that it interrupts in their import may swallow it
    or crash. Nothing has been written yet."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _configure_jax(*, workers: bool = False) -> None:
    """float64 for the theories; one CPU device for each core, so that chains run side by side.

    Where workers do the work, this process leaves the GPUs to them.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    if workers:
        jax.config.update("jax_platforms", "cpu")
    flags = os.environ.get("XLA_FLAGS", "")
    if "JAX_NUM_CPU_DEVICES" in os.environ or "xla_force_host_platform_device_count" in flags:
        return
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # where JAX already runs, its devices stay as they are
        jax.config.update("jax_num_cpu_devices", cores)


def _say(arguments: argparse.Namespace, text: str) -> None:
    if not arguments.quiet:
        sys.stdout.write(text + "\n")


def _fail(message: str) -> int:
    sys.stderr.write(f"langevin-nn: error: {' '.join(message.split())}\n")
    return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
