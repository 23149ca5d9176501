"""`langevin-nn theory`: the theories' predictions only."""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from langevin_nn.cli.codes import FAILED
from langevin_nn.cli.fields import add_fields, config_of
from langevin_nn.cli.progress import tell
from langevin_nn.cli.startup import configure_jax, loading
from langevin_nn.cli.streams import stages, warnings_as_lines
from langevin_nn.cli.words import PICTURE, Once, add_plot, path, require_folder_of
from langevin_nn.errors import InputError
from langevin_nn.footprint import TightMemory
from langevin_nn.result_text import message_of

if TYPE_CHECKING:
    from langevin_nn.config.record import RunConfig
    from langevin_nn.theory.suite import Predictions

SUMMARY = "the theories' predictions only, in seconds"
USAGE = f"""CONFIG.toml [--json] [--plot {PICTURE}]
                          [--maximise-evidence FIELD ...]
                          [--SECTION.FIELD VALUE ...]"""
EXAMPLE = """an example:
  langevin-nn theory my.toml --network.hidden_widths 400 --plot theory.pdf"""


def add(parser: argparse.ArgumentParser) -> None:
    """Give the parser the file, its fields, and the forms of the answer."""
    parser.add_argument("config", type=path, metavar="CONFIG.toml")
    parser.add_argument(
        "--maximise-evidence", nargs="+", action=Once, metavar="FIELD",
        help="first maximise the log evidence over these, prior.precisions[-1] or "
        "posterior.temperature, of the first theory that has one",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="everything, as JSON")
    add_plot(parser, "the theories")
    add_fields(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Print what the theories say; the code is `FAILED` where not one has a result.

    It is also where no maximum of the log evidence was found: none at all, or none between the
    bounds.
    """
    config = config_of(arguments)
    stages.begin("loading JAX")
    with loading():
        from langevin_nn.files import require_no_folder, require_writable
        from langevin_nn.model.ensemble import Ensemble
        from langevin_nn.runs import run, tables
        from langevin_nn.runs.maximum import as_given, at_maximum, maximum_json, options_to
        from langevin_nn.runs.standard_scaling import StandardScaling
        from langevin_nn.theory.evidence_maximum import maximise_evidence
        from langevin_nn.theory.suite import predict

        configure_jax()
    if arguments.plot is not None:
        require_folder_of(arguments.plot)
        require_no_folder(arguments.plot, "another name")
        require_writable(arguments.plot.parent, "write --plot with a file in another folder")
    stages.begin(f"reading {config.data.source}")
    config, ensemble = run.prepare_theory(config)
    stages.begin("theories")
    with warnings_as_lines(TightMemory):
        predictions = predict(ensemble, config.theory)
    require_theories(config, predictions)
    found = None
    if arguments.maximise_evidence:
        theory = _with_evidence(predictions)
        found = maximise_evidence(ensemble, arguments.maximise_evidence, theory=theory)
        given, config = config, at_maximum(config, found)
        ensemble = Ensemble(found.ensemble.spec, found.ensemble.data)
        predictions = predict(ensemble, config.theory)
        options, found = options_to(given, found), as_given(given, found)
    scaling = StandardScaling.of(config)
    if arguments.json:
        part = run.theory_json(ensemble, predictions, scaling)
        part |= {} if found is None else {"evidence_maximum": maximum_json(found)}
        text = json.dumps(part, indent=2, allow_nan=False)
    else:
        heading = tables.heading(config, ensemble.data)
        table = predictions.table
        text = "\n".join([heading, "", str(table), "", *tables.remarks(predictions)])
        if found is not None:
            text = f"{found}\nas options: {options}\n\n{text}"
    if arguments.plot is not None:
        try:
            run.draw_theory(ensemble, predictions, tables.caption(config), arguments.plot, scaling)
        except OSError as error:
            raise InputError(f"cannot write {arguments.plot}: {error.strerror or error}") from error
    stages.end()
    sys.stdout.write(text + "\n")
    if found is not None and not found.is_maximum:
        tell(f"--maximise-evidence: {found.message}")
        return FAILED
    if any(result.converged for result in predictions.results.values()):
        return 0
    reasons = (message_of(name, result) for name, result in predictions.results.items())
    tell(f"no theory has a result ({'; '.join(reasons)})")
    return FAILED


def _with_evidence(predictions: "Predictions") -> str:
    """The first theory with a log evidence. Raises `InputError` where none has one."""
    for name, result in predictions.results.items():
        if result.log_evidence is not None:
            return name
    raise InputError(
        f"--maximise-evidence: {', '.join(predictions.results)} give no log evidence, write "
        "--theory with another"
    )


def require_theories(config: "RunConfig", predictions: "Predictions") -> None:
    """Raise `InputError` where not one of the theories that were asked for applies."""
    if predictions.results:
        return
    if config.theory == ():
        raise InputError("theory = [] asks for no theory: write their names, or leave it out")
    reasons = "; ".join(dict.fromkeys(predictions.not_applicable.values()))
    if config.theory is None:
        raise InputError(f"no theory applies ({reasons})")
    names = ", ".join(map(str, config.theory))
    several = len(config.theory) > 1
    complaint = f"none of {names} applies" if several else f"{names} does not apply"
    raise InputError(f"{complaint} ({reasons})")
