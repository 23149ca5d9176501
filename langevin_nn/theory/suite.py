"""All theories by name, and every one that applies to an ensemble at once."""

import contextlib
import inspect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from traceback import walk_tb
from typing import Any

import jax
import numpy as np

from langevin_nn import footprint
from langevin_nn.config.losses import loss_usage
from langevin_nn.config.representations import checked_representations
from langevin_nn.display import Displayed, Table
from langevin_nn.import_paths import misfit, named, reason_of
from langevin_nn.memory import forget_programs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.representations import Representation
from langevin_nn.result_text import results_table, with_messages
from langevin_nn.theory.applicability import require_ensemble
from langevin_nn.theory.base import Function, Solution, Theory
from langevin_nn.theory.effective import (
    convolutional,
    global_scale,
    infinite_width,
    multi_output,
    nested,
    one_layer,
    one_layer_nonodd,
    scale_mixture,
    width_expansion,
)
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.features import adaptive, cavity, mean_field, propagation
from langevin_nn.theory.guide import guidance
from langevin_nn.theory.regression.moments import not_found
from langevin_nn.theory.regression.resolvable import resolved_criteria
from langevin_nn.theory.regression.rounding import rounding_of
from langevin_nn.theory.representation import numbers_of
from langevin_nn.types import Generalisation, InputError, NotApplicable
from langevin_nn.values import shown

__all__ = ["THEORIES", "Predictions", "predict", "theory_named", "theory_of"]

THEORIES: dict[str, Theory | Function] = {
    theory.name: theory
    for theory in (
        infinite_width.THEORY,
        one_layer.THEORY,
        one_layer_nonodd.THEORY,
        nested.THEORY,
        global_scale.THEORY,
        scale_mixture.THEORY,
        width_expansion.WIDTH_EXPANSION,
        width_expansion.MATCHED,
        multi_output.THEORY,
        convolutional.THEORY,
        mean_field.THEORY,
        cavity.THEORY,
        propagation.THEORY,
        adaptive.THEORY,
    )
}
"""The theories by name. A theory of your own is added as `THEORIES["mine"]`: a `Theory`, or a
function of an `Ensemble` that gives a `Generalisation` or a `Solution`."""

_OF_THE_PACKAGE = tuple(THEORIES.values())
PACKAGE = "langevin_nn."
"""How the names of the package's modules begin."""
_FAILURES = (ValueError, ArithmeticError, MemoryError, jax.errors.JaxRuntimeError)


@dataclass(frozen=True, repr=False)
class Predictions(Displayed):
    """What the theories say about one ensemble and its data; made by `predict`.

    `solutions` has those of the theories that apply, by name, `results` their numbers, and
    `not_applicable` the reason for each that does not. A theory that failed is among the results,
    with `converged` False, NaN for numbers and its `message`. `eigenvalues` are the smallest and
    the largest of the Gram matrix, None where it is not known.

    `criterion` is s = yᵀK⁻¹y/P, and `criterion_at_temperature` yᵀA⁻¹KA⁻¹y/tr A⁻¹K, A = T I + K, at
    the `temperature` T of the ensemble: the theory of one common scale has Q* > 1, and a variance
    above that of infinite width, where it is above 1. Where they are None, `criterion_message` says
    why. `representations` are what theories say of the network's, by their names, where that was
    asked for. `guidance` says which theory was right at like places of maps of tasks (`guide`).
    """

    solutions: dict[str, Solution]
    not_applicable: dict[str, str]
    criterion: float | None
    criterion_message: str = ""
    eigenvalues: tuple[float, float] | None = None
    criterion_at_temperature: float | None = None
    temperature: float = math.nan
    representations: dict[str, Representation] = field(default_factory=dict)
    guidance: str = ""

    @property
    def results(self) -> dict[str, Generalisation]:
        """The numbers of each theory that applies, by name."""
        return {name: solution.generalisation for name, solution in self.solutions.items()}

    @property
    def table(self) -> Table:
        """The numbers of the theories that apply, a row for each.

        At T = 0, training errors within the rounding of the Gram matrix are written as 0.
        """
        resolution = 0.0
        if self.temperature == 0 and self.eigenvalues is not None:
            resolution = rounding_of(np.array(self.eigenvalues))
        return results_table(self.results.values(), resolution)

    @property
    def _table(self) -> Table:
        table = with_messages(self.table, self.results.values())
        left_out = [f"{name}: left out ({why})" for name, why in self.not_applicable.items()]
        return replace(table, notes=[*table.notes, *left_out])

    def numbers_only(self) -> "Predictions":
        """The predictions without what holds Gram matrices, so that many of them can be kept."""
        return replace(self, solutions={name: Solution(g) for name, g in self.results.items()})


def predict(
    ensemble: Ensemble,
    names: str | Theory | Function | Iterable[Any] | None = None,
    *,
    observables: Iterable[str] = (),
) -> Predictions:
    """What the theories of `names` (or one alone), else all that apply, say about an ensemble.

    Each is a name, an import path, a `Theory` or a function of an ensemble. With `observables`,
    "kernel" or "order_parameter", `representations` has what they say of the network's.

    All use one factorised Gram matrix. A theory that does not find its minimum, or fails in its
    numbers, says so in its result and ends no other.

    Of theories that coincide for this network, such as `nested` and `one_layer` with one hidden
    layer, the default takes one; a theory that is named is computed.

    Raises:
        InputError: an unknown name, or two theories of one; inputs that do not fit the ensemble's
            spec; T = 0 as for `infinite_width`; float64 switched off.

    >>> data = two_points(1.0, -1.0)
    >>> deep = EnsembleSpec(2, (50, 50), erf, (1.0, 1.0, 1.0), temperature=0.1)
    >>> predictions = predict(Ensemble(deep, data))
    >>> list(predictions.results), predictions.not_applicable["one_layer"]
    (['infinite_width', 'nested', 'global', 'scale_mixture'], 'one_layer describes one hidden layer, this network has 2')
    """  # noqa: E501
    require_ensemble(ensemble)
    spec, data = ensemble.spec, ensemble.data
    theories = _chosen(names)
    patches = None if spec.patches is None else spec.patches.num_patches
    depth, needs = len(spec.hidden_widths or ()), [theory.needs for theory in theories.values()]
    if names is None:
        needs = [theory.needs for theory in theories.values() if not theory.on_request]
        needs = footprint.by_default(needs, depth, patches)
    sizes = data.num_train, data.num_test
    room = footprint.of_theories(*sizes, needs, depth, patches, data.num_outputs)
    footprint.require_and_warn(room, "write fewer training or test examples")
    forget_programs()
    regression, unknown, is_squared = None, "", loss_usage(spec.loss).is_gaussian
    try:
        regression = gram_regression(ensemble)
    except NotApplicable as error:
        unknown = str(error)
    else:
        regression.check_temperature(spec.temperature)
    solutions: dict[str, Solution] = {}
    not_applicable: dict[str, str] = {}
    for name, theory in theories.items():
        if regression is None and (is_squared or not theory.any_loss):
            not_applicable[name] = unknown
            continue
        is_own = theory not in _OF_THE_PACKAGE
        try:
            if names is None and (why := theory.applies(ensemble)):
                not_applicable[name] = why
                continue
            solutions[name] = theory.solve(ensemble)
            if is_own:
                _check_covariance(solutions[name])
        except NotApplicable as error:
            not_applicable[name] = str(error)
        except _failures_of(is_own) as error:
            solutions[name] = Solution(not_found(name, data, _reason(is_own, error)))
    said = _representations(
        solutions, ensemble, checked_representations("observables", observables)
    )
    if regression is None:
        return Predictions(solutions, not_applicable, None, unknown, representations=said)
    criterion, at_temperature, why = resolved_criteria(regression, spec.temperature)
    smallest, largest = (float(regression.eigenvalues[i]) for i in (0, -1))
    return Predictions(
        solutions, not_applicable, criterion, why, (smallest, largest), at_temperature,
        spec.temperature, said, guidance(ensemble, criterion),
    )  # fmt: skip


def _representations(
    solutions: Mapping[str, Solution], ensemble: Ensemble, names: Sequence[str]
) -> dict[str, Representation]:
    """What those theories that have converged, and know it, say of the representation."""
    said = {}
    for name, solution in solutions.items():
        if names and solution.kernels is not None and solution.generalisation.converged:
            with contextlib.suppress(*_FAILURES):  # as of a covariance that rounding decides
                said[name] = numbers_of(solution.kernels(), ensemble, names)
    return said


def _chosen(names: Any) -> dict[str, Theory]:
    """The theories that are asked for by their names; all of them where none are named.

    Raises `InputError` for what is neither a name nor a theory, and for two theories of one name.
    """
    if names is None:
        return {name: theory_named(name) for name in THEORIES}
    if isinstance(names, str) or callable(names):
        names = (names,)
    if not isinstance(names, Iterable):
        raise InputError(
            f'names are those of theories, or theories, got {shown(names)}: write ("one_layer",)'
        )
    theories: dict[str, Theory] = {}
    for choice in names:
        theory = theory_of(choice)
        other = theories.setdefault(theory.name, theory)
        if theory.name not in THEORIES and other.function is not theory.function:
            raise InputError(
                f"two theories have the name {theory.name}: write another name for one of them, "
                f'Theory("own_{theory.name}", …)'
            )
    return theories


def _check_covariance(solution: Solution) -> None:
    """Raise what is wrong with a covariance: later it would be left out in silence.

    An `InputError` says that it is not known for this ensemble, and numbers beyond float64 in the
    package's own functions say no more: neither is a mistake. An error of arithmetic that the
    user's own lines raise is one.
    """
    if solution.covariance is None:
        return
    try:
        made = solution.covariance()
    except InputError:
        return
    except ArithmeticError as error:
        if _is_of_package(error):
            return
        raise
    replace(solution, covariance=lambda: made).required_covariance()


def _is_of_package(error: BaseException) -> bool:
    """Whether a function of the package has raised the error that a call of the user's code has."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)][1:]  # without the caller's
    of_package = [str(frame.f_globals.get("__name__")).startswith(PACKAGE) for frame in frames]
    if not any(of_package):
        return False
    last_of_file = {frame.f_code.co_filename: place for place, frame in enumerate(frames)}
    last = max(place for place, is_own in enumerate(of_package) if is_own)
    return of_package[0] or last > last_of_file[frames[0].f_code.co_filename]


def _failures_of(is_own: bool) -> tuple[type[BaseException], ...]:
    """The exceptions that end one theory alone: any at all for one of the user's own."""
    return (Exception, SystemExit) if is_own else _FAILURES


def _reason(is_own: bool, error: BaseException) -> str:
    if isinstance(error, InputError):
        return str(error)
    text = " ".join(str(error).split()) or type(error).__name__
    return f"not found, the calculation failed: {reason_of(error) if is_own else text}"


def theory_of(choice: Any) -> Theory:
    """The theory of a name or an import path, or the one that is given: a `Theory`, or a function.

    Raises `InputError` for what is neither, and for an object that has the name of another theory.

    >>> theory_of(THEORIES["global"]).name, theory_of(lambda ensemble: None).name
    ('global', '<lambda>')
    """
    if isinstance(choice, str):
        return theory_named(choice)
    if isinstance(choice, type) or not callable(choice):
        raise InputError(
            f"a theory is a name, a Theory or a function of an Ensemble, got {shown(choice)}: "
            'write "one_layer", or Theory("mine", function)'
        )
    if (theory := _of_package(choice)) is not None:
        return theory
    name = choice.name if isinstance(choice, Theory) else _name_of(choice)
    if (known := THEORIES.get(name)) is choice:
        return theory_named(name)
    if known is not None:
        raise InputError(
            f"the theory {name} has the name of another: write a name of its own, "
            f'Theory("own_{name}", …), or THEORIES["{name}"] = … to take its place'
        )
    if isinstance(choice, Theory):
        return choice
    return Theory(name, _function_of_ensemble(name, choice), _first_line(choice))


def _name_of(function: Function) -> str:
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def _of_package(function: Any) -> Theory | None:
    """The theory that a function of the package, `theory.one_layer` say, gives the numbers of."""
    name = getattr(function, "__name__", "").rstrip("_")
    known = THEORIES.get(name)
    if not isinstance(known, Theory) or not str(function.__module__).startswith(PACKAGE):
        return None
    return known if known.function.__module__ == function.__module__ else None


def theory_named(name: str) -> Theory:
    """The theory of that name or import path, a function too as `Theory`.

    What a function's `summary` says is the first line of its docstring.

    Raises `InputError` for any other name, and for what is neither.

    >>> theory_named("global").name
    'global'
    """
    theory = named("theory", name, THEORIES)
    if name not in THEORIES and (isinstance(theory, type) or not callable(theory)):
        write = f"def {name.rpartition(':')[2]}(ensemble), which returns a Generalisation"
        raise misfit("theory", name, theory, "a Theory or a function of an Ensemble", write)
    if not isinstance(theory, Theory):
        return Theory(name, _function_of_ensemble(name, theory), _first_line(theory))
    return theory if theory.name == name else replace(theory, name=name)


def _first_line(function: Function) -> str:
    docstring = inspect.getdoc(function) if inspect.isroutine(function) else None
    return (docstring or "").partition("\n")[0]


def _function_of_ensemble(name: str, function: Function) -> Function:
    """The user's function; `InputError` if it cannot be called with one argument."""
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise InputError(
            f"{name} is no function of an Ensemble ({error}): write def "
            f"{name.rpartition(':')[2]}(ensemble), which returns a Generalisation or a Solution"
        ) from error
    return function
