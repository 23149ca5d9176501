"""The command line: `langevin-nn run | theory | plot | data | info`.

Every field of the configuration is an option, `--SECTION.FIELD VALUE`. Bad input ends in one line
and exit code 2, a run that has not converged in exit code 3, Ctrl-C in 130. This module imports
JAX only inside the commands, after the arguments are understood.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from langevin_nn import config as configuration
from langevin_nn.config import RunConfig
from langevin_nn.types import InputError

if TYPE_CHECKING:
    from langevin_nn.sampling.chains import Report

BAD_INPUT, NOT_CONVERGED, INTERRUPTED = 2, 3, 130


class _Parser(argparse.ArgumentParser):
    """One line for an error, with the nearest option for an unknown one."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    try:
        parsed = _parse(sys.argv[1:] if arguments is None else list(arguments))
        code = parsed.command(parsed)
        assert isinstance(code, int)
        return code
    except InputError as error:
        line = " ".join(str(error).split())
        sys.stderr.write(f"langevin-nn: error: {line}\n")
        return BAD_INPUT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def run_command(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    _enable_float64()
    from langevin_nn import run, store
    from langevin_nn.sampling.chains import Diverged

    problem = run.prepare(config)
    folder = store.RunFolder(arguments.output or _default_output(arguments.config, config))
    if arguments.resume and folder.is_finished:
        folder.claim(problem.config, resume=True, overwrite=False)
        _say(arguments, f"{folder.path} is finished; its figures again: langevin-nn plot")
        return 0 if folder.load_summary()["experiment"]["converged"] else NOT_CONVERGED
    folder.claim(problem.config, resume=arguments.resume, overwrite=arguments.overwrite)
    progress = None if arguments.quiet else _Progress(run.caption(problem.config))
    try:
        result = run.run(problem, folder, resume=arguments.resume, progress=progress)
    except Diverged:
        folder.discard()
        raise
    except OSError as error:
        raise InputError(
            f"writing into {folder.path} failed ({error.strerror or error}): what was saved stays; "
            f"go on with: {_resume_line(arguments, folder.path)}"
        ) from error
    except KeyboardInterrupt:
        sys.stderr.write(f"\ninterrupted; go on with: {_resume_line(arguments, folder.path)}\n")
        return INTERRUPTED
    finally:
        if progress:
            progress.close()
    _say(arguments, f"{run.report(result)}\n\nrun folder: {folder.path}")
    return 0 if result.measured.converged else NOT_CONVERGED


def theory_command(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    _enable_float64()
    from langevin_nn import run
    from langevin_nn.analysis.comparison import theory_table
    from langevin_nn.theory.predictors import predict

    problem = run.prepare(config)
    predictions = predict(problem.posterior.spec, problem.data)
    if arguments.json:
        text = json.dumps(run.theory_part(predictions), indent=2, allow_nan=False)
    else:
        text = "\n".join(
            [
                run.caption(problem.config),
                "",
                theory_table(predictions.results.values()),
                "",
                *run.remarks(predictions),
            ]
        )
    sys.stdout.write(text + "\n")
    return 0


def plot_command(arguments: argparse.Namespace) -> int:
    _enable_float64()
    from langevin_nn import run, store
    from langevin_nn.analysis.generalisation import summarise

    folder = store.RunFolder(arguments.folder)
    config, summary = folder.load_config(), folder.load_summary()
    tree = folder.load_posterior()
    chains = store.chains_of(tree)
    theories = store.theories_of(tree, summary)
    run.draw_figures(folder, config, chains, summarise(chains), theories)
    sys.stdout.write("".join(f"{path}\n" for path in sorted(folder.figures.glob("*.png"))))
    return 0


def data_command(arguments: argparse.Namespace) -> int:
    from langevin_nn.analysis.comparison import aligned
    from langevin_nn.model import raw_files

    if arguments.action == "list":
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
    _enable_float64()
    from langevin_nn import provenance

    parts = {
        "versions": provenance.versions(),
        "device": provenance.device(),
        "precision": provenance.precision(),
        "git": provenance.git_state(Path(provenance.__file__).parent) or {},
    }
    for title, content in parts.items():
        sys.stdout.write(f"{title}\n")
        sys.stdout.writelines(f"  {name:<20} {value}\n" for name, value in content.items())
    return 0


class _Progress:
    """tqdm on a terminal, plain lines (one in ten per cent) elsewhere."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None
        self.told = -1

    def __call__(self, report: "Report") -> None:
        phase = "warm-up" if report.steps < report.warmup_steps else "sampling"
        numbers = f"training error {report.train_error:.3g}"
        if report.diverged_chains:
            numbers += f", {report.diverged_chains} chains diverged"
        if not sys.stderr.isatty():
            tenth = 10 * report.steps // report.total_steps
            if tenth > self.told:
                self.told = tenth
                sys.stderr.write(f"{10 * tenth:3d} %  {phase}, {numbers}\n")
            return
        if self.bar is None:
            from tqdm import tqdm

            self.bar = tqdm(total=report.total_steps, unit="step", unit_scale=True, leave=False)
        self.bar.set_description(phase)
        self.bar.set_postfix_str(numbers)
        self.bar.update(report.steps - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="langevin-nn",
        description="Sample the posterior of a finite-width network and hold it against theory.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, function: Any, meaning: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=meaning, description=meaning, allow_abbrev=False)
        added.set_defaults(command=function)
        return added

    run = command("run", run_command, "sample a posterior and compare it with the theories")
    theory = command("theory", theory_command, "the theories' predictions only, in seconds")
    for configured in (run, theory):
        configured.add_argument("config", type=Path, metavar="CONFIG.toml")
        _add_fields(configured)
    run.add_argument("--output", type=Path, metavar="DIR", help="the run folder")
    existing = run.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    existing.add_argument("--overwrite", action="store_true", help="replace the run in the folder")
    run.add_argument("--quiet", action="store_true", help="no progress, no table")
    theory.add_argument("--json", action="store_true", help="as in summary.json")
    plot = command("plot", plot_command, "draw the figures of a run folder again")
    plot.add_argument("folder", type=Path, metavar="RUN_DIR")
    data = command("data", data_command, "list or fetch data sets")
    data.add_argument("action", choices=("list", "fetch"))
    data.add_argument("name", nargs="?", metavar="NAME")
    command("info", info_command, "versions, devices, precision")

    words = [_underscored(word) for word in arguments]
    parsed, unknown = parser.parse_known_args(words)
    if unknown:
        flags = [word for word in unknown if word.startswith("--")] or unknown
        options = _options_of(commands.choices[words[0]])
        hint = configuration.nearest(flags[0].split("=")[0], options)
        raise InputError(f"unknown argument {flags[0]}{hint}")
    return parsed


def _add_fields(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("fields of the configuration")
    for name, item in configuration.options().items():
        many = "+" if item.metadata["kind"].is_list else None
        group.add_argument(
            f"--{name}", nargs=many, dest=f"field:{name}", metavar="VALUE",
            help=item.metadata["help"].replace("%", "%%"),
        )  # fmt: skip


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    return [word.split()[0] for word in parser.format_help().split("\n  ") if word[:2] == "--"]


def _underscored(word: str) -> str:
    """`--sampler.num-chains` means `--sampler.num_chains`."""
    if not word.startswith("--"):
        return word
    flag, equals, value = word.partition("=")
    return "--" + flag[2:].replace("-", "_") + equals + value


def _config(arguments: argparse.Namespace) -> RunConfig:
    given = {
        key.removeprefix("field:"): value if isinstance(value, list) else [value]
        for key, value in vars(arguments).items()
        if key.startswith("field:") and value is not None
    }
    return configuration.load(arguments.config, given)


def _default_output(path: Path, config: RunConfig) -> Path:
    """`runs/NAME-HASH`: NAME from the file, or from its folder if it is a config.toml."""
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    return Path("runs") / f"{name}-{config.content_hash}"


def _resume_line(arguments: argparse.Namespace, folder: Path) -> str:
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    output = [] if arguments.output else ["--output", str(folder)]
    return " ".join(["langevin-nn", *words, *output, "--resume"])


def _enable_float64() -> None:
    """float64 for the theories; one CPU device for each core, so that chains run side by side."""
    import jax

    jax.config.update("jax_enable_x64", True)
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def _say(arguments: argparse.Namespace, text: str) -> None:
    if not arguments.quiet:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
