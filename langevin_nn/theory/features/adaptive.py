"""One hidden layer of any width, described by `propagation`, or by whole layers: `adaptive`.

`propagation` has a hidden unit in the Gaussian field of the others, and is right where N_1 ≥ P.
With fewer units than examples what one of them sees of the others is no longer Gaussian: they share
the few directions that they span. There `adaptive` averages over whole hidden layers (`layers`),
with the exact weight of each. They are made of what the theory of one unit says, the distribution
p of `cavity`, and their weights tell how far the units of a layer are from independent ones: on
MNIST with erf at N_1 = P/5 layers of independent units have an effective size of a tenth to a third
of their number.
"""

from functools import partial

import numpy as np
import scipy.linalg
from jaxtyping import Float

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.features import propagation
from langevin_nn.theory.features.cavity import field_of_mean
from langevin_nn.theory.features.dense_units import DenseUnits, draw_dense_units
from langevin_nn.theory.features.field import Field, solve_field
from langevin_nn.theory.features.layers import (
    BATCHES,
    NUM_SWEEPS,
    SEED,
    LayerAverages,
    average_over_layers,
)
from langevin_nn.theory.features.proposal import adapted
from langevin_nn.theory.features.response import log_tilt, noise_of, require_warm
from langevin_nn.theory.features.units import NUM_UNITS
from langevin_nn.theory.regression.moments import (
    Moments,
    generalisation,
    joined,
    not_found,
    with_errors,
)
from langevin_nn.types import Generalisation, InputError
from langevin_nn.values import as_whole, shown

__all__ = ["THEORY", "adaptive"]

_domain = partial(require, "adaptive", depth=1)
MOST_LAYERS, FEWEST_LAYERS = 1024, 256
"""The default number of layers, and the fewest."""
_OPERATIONS, _MOST_OPERATIONS = 2.0**37, 2.0**40
"""About how many operations the layers take, and the largest number for the fewest layers."""
_OPERATIONS_AN_HOUR = 1e13
"""As measured on two cores."""
LEAST_LAYERS = 100
"""The number of layers of independent units that must have left some in the exact posterior."""


def adaptive(
    ensemble: Ensemble, *, num_units: int = NUM_UNITS, num_layers: int | None = None
) -> Generalisation:
    """One hidden layer of any width, any activation: a unit's theory, or whole layers of units.

    With N_1 ≥ P it is `propagation`, where that has converged. With fewer units than examples the
    field that a unit sees is not Gaussian, and the posterior of the hidden weights, with features
    φ_i (P,) and A = T + (1/N_1) Σ_i φ_iφ_iᵀ,

        ∏_i p_0(φ_i) exp(−½ log det A − ½ yᵀA⁻¹y),

    is averaged over as it is: over layers of units that begin as independent ones of `cavity`'s p,
    are drawn by the weights of that posterior, and brought to it by Metropolis steps that replace
    unit after unit (`features.layers`). mean and variance are those of the Gaussian processes that
    the layers leave, averaged; everything is exact, up to the `mcse` of bias², variance,
    generalisation and training error, which come from the scatter between groups of layers. No
    gradient, step size or chain of weights is in it, so that it is also a check of the sampler.
    Derived here; for the way from independent units to the posterior: Dai et al. 2020,
    arXiv:2007.11936.

    The order parameter is aᵀ⟨A − T⟩a/aᵀKa, by which the Gram matrix has grown along `cavity`'s
    a. The log evidence is that of independent units, with the mean weight of each step to the exact
    posterior; its standard error was 0.01 to 0.1 where 1024 layers have converged. `converged` is
    False, and `message` says why, where that takes too long, where after 900 sweeps over their
    units layers still remember what they began with, and where less than 100 of the first layers
    have left others: units that depend on each other so much, as on CIFAR-10 at N_1 = P/5, had a
    bias² within 1 % and a variance within 8 % of the exact sampler's, and not within the `mcse`.

    Args:
        ensemble: the spec, and the training and test examples.
        num_units: rounded up to a power of two.
        num_layers: 256 at least, rounded up to a multiple of 32; by default 1024, or as many of
            them, 256 at least, as take some 10¹¹ operations. Where 256 take ten times that, minutes
            on two cores, none are drawn unless their number is given, and `message` says how long.

    Raises:
        NotApplicable: other than one hidden layer, fully connected, and one output.
        InputError: inputs that do not fit the spec; T = 0; numbers of units or layers that are too
            small.

    One linear unit, whose posterior `scale_mixture` has exactly

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (1,), identity, (0.5, 1.0), temperature=1.0)
    >>> from langevin_nn.theory.effective.scale_mixture import scale_mixture
    >>> exact, found = scale_mixture(Ensemble(spec, data)), adaptive(Ensemble(spec, data), num_units=4096)
    >>> abs(found.variance.value - exact.variance.value) < 4 * found.variance.mcse
    True
    """  # noqa: E501
    return THEORY(ensemble, num_units=num_units, num_layers=num_layers)


def _solve(
    ensemble: Ensemble, *, num_units: int = NUM_UNITS, num_layers: int | None = None
) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    require_warm("adaptive", spec.temperature)
    reason = ""
    if width >= data.num_train:
        solution = propagation.THEORY.solve(ensemble, num_units=num_units)
        if solution.generalisation.converged:
            return solution
        reason = f"propagation: {solution.generalisation.message}"
    units = draw_dense_units(ensemble, num_units)
    num = _num_layers(num_layers, width, units)
    if num_layers is None and num * _operations(width, units) > _MOST_OPERATIONS:
        return Solution(not_found("adaptive", data, joined(reason, _about_time(width, units))))
    noise = noise_of(units, spec.temperature)
    update = partial(field_of_mean, units, data.y_train, noise)
    field = solve_field(units, data.y_train, noise, width, update)
    rank = units.inputs.shape[1]
    proposal = adapted(
        partial(_tilt, units, field, width), rank, units.num_units, np.random.default_rng(SEED)
    )
    averages = average_over_layers(
        units, data.y_train, spec.temperature, width, proposal, (field.factor, field.a), num
    )
    message, converged = _about(averages)
    power = float(field.a @ units.gram @ field.a)
    order = float(np.mean(averages.along)) / power if power > 0 else 1.0
    moments = _moments(averages, width + units.columns.shape[1], spec.temperature, data.num_train)
    message = joined(reason, message) if not converged else message
    result = generalisation("adaptive", data, moments, (order,), converged, message)
    return Solution(_with_errors(result, data.y_test, averages))


def _num_layers(given: int | None, width: int, units: DenseUnits) -> int:
    """How many layers there are, a multiple of `BATCHES`."""
    if given is None:
        possible = int(_OPERATIONS / _operations(width, units))
        given = min(max(possible, FEWEST_LAYERS), MOST_LAYERS)
    elif (as_whole(given) or 0) < FEWEST_LAYERS:
        raise InputError(
            f"num_layers must be at least {FEWEST_LAYERS}, got {shown(given)}: write more of them, "
            "or leave it out"
        )
    return -(-given // BATCHES) * BATCHES


def _operations(width: int, units: DenseUnits) -> float:
    """About how many operations one layer takes."""
    num_train, rank = units.inputs.shape
    of_a_step = rank * (num_train + rank) + 2 * width * num_train + 4 * width**2
    return float(NUM_SWEEPS) * width * of_a_step


def _about_time(width: int, units: DenseUnits) -> str:
    """The message where even the fewest layers take very long."""
    hours = FEWEST_LAYERS * _operations(width, units) / _OPERATIONS_AN_HOUR
    return (
        f"{FEWEST_LAYERS} layers of {width} units at {len(units.gram)} examples take some "
        f"{hours:.1f} hours: give num_layers to have them all the same"
    )


def _tilt(
    units: DenseUnits, field: Field, width: int, z: Float[np.ndarray, "n r"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """log p/p_0 of units of these coordinates in the field, but for a constant, and their u."""
    features = units.features_of(z)
    solved = scipy.linalg.solve_triangular(field.factor, features.T, lower=True)
    u = features @ field.a
    q = np.sum(solved**2, axis=0) / width
    return log_tilt(q[:, None], u[:, None], width), u


def _about(averages: LayerAverages) -> tuple[str, bool]:
    """The message where the layers are not to be relied on, and whether they are."""
    if averages.ancestors < LEAST_LAYERS:
        return (
            f"of the layers of independent units {averages.ancestors} have left others in the "
            "exact posterior, too few: units depend on each other"
        ), False
    if averages.forgotten:
        return "", True
    return (
        f"layers of units remember {averages.memory:.3g} sweeps over them, and "
        f"{averages.sweeps} are not enough to forget those that they began with: "
        f"{100 * averages.acceptance:.2g} % of new units are accepted"
    ), False


def _moments(averages: LayerAverages, rows: int, temperature: float, num_train: int) -> Moments:
    """Mean, variance, training error and log p(y); `rows` are those of a layer."""
    mean, second = averages.mean.mean(axis=0), averages.second.mean(axis=0)
    constant = num_train * np.log(2 * np.pi) + (num_train - rows) * np.log(temperature)
    evidence = averages.log_integral - 0.5 * float(constant)
    return Moments(mean, second - mean**2, float(np.mean(averages.train_error)), evidence)


def _with_errors(
    result: Generalisation, y_test: Float[np.ndarray, " P_test"], averages: LayerAverages
) -> Generalisation:
    """With standard errors to first order in what each group of layers has beside all of them."""
    mean = result.predictive_mean
    bias2 = np.mean(-2 * (y_test - mean) * averages.mean, axis=1)
    variance = np.mean(averages.second - 2 * mean * averages.mean, axis=1)
    return with_errors(result, bias2, variance, averages.train_error)


THEORY = Theory(
    "adaptive",
    _solve,
    summary="A hidden unit in the field of the others, or whole layers of units where N_1 < P.",
    style={"color": "#AA4499", "linestyle": "-", "marker": "D"},
    domain=_domain,
    needs=Needs(10.0, programs=140e6, sampled=6 * NUM_UNITS, least_depth=1, most_depth=1),
    on_request=True,
)
