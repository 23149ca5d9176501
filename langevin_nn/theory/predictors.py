"""Theories of the posterior: functions from an ensemble and its data to a `Generalisation`.

Each theory is a Gaussian process f | Q ~ GP(0, Q K_L) and a rule for the order parameter Q:

    infinite_width   Q = 1                               any depth
    one_layer        Q* minimises S(Q)                   one hidden layer
    scale_mixture    averages over Q, weight exp(−S/2)   one hidden layer

with S of `action.OneLayerAction`. The averages and the criterion s are as in Pacelli et al. (2023),
arXiv:2209.04882. The scale mixture integrates over the Q ~ Gamma(N_1/2, rate N_1/2) whose effective
prior E[exp(−Q s̄ᵀK s̄/2)] = (1 + s̄ᵀK s̄/N_1)^(−N_1/2) is theirs, instead of taking its saddle point.
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from langevin_nn.model.datasets import Dataset
from langevin_nn.theory.action import OneLayerAction, minimise
from langevin_nn.theory.gram import gram_blocks
from langevin_nn.theory.moments import Moments, average_over_scale, moments_at_scale
from langevin_nn.theory.regression import Regression, decompose
from langevin_nn.types import EnsembleSpec, Estimate, Generalisation, InputError, NotApplicable

__all__ = [
    "THEORIES",
    "Predictions",
    "gram_regression",
    "infinite_width",
    "one_layer",
    "predict",
    "scale_mixture",
]

Theory = Callable[[EnsembleSpec, Dataset, Regression | None], Generalisation]


@dataclass(frozen=True)
class Predictions:
    """What the theories say about one ensemble and its data.

    `results` has the theories that apply, by name, and `not_applicable` the reason for each that
    does not. `criterion` is s = yᵀK⁻¹y/P; where it is None, `criterion_message` says why.
    """

    results: dict[str, Generalisation]
    not_applicable: dict[str, str]
    criterion: float | None
    criterion_message: str = ""


def predict(spec: EnsembleSpec, data: Dataset, names: Iterable[str] | None = None) -> Predictions:
    """Every theory of `names` (all of `THEORIES` if left out) on one factorised Gram matrix.

    Raises:
        InputError: an unknown name; inputs that do not fit `spec`; T = 0 with a singular Gram
            matrix; float64 switched off.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import erf
    >>> from langevin_nn.model.datasets import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> deep = EnsembleSpec(2, (50, 50), erf, (1.0, 1.0, 1.0), temperature=0.1)
    >>> predictions = predict(deep, data)
    >>> list(predictions.results), predictions.not_applicable["one_layer"]
    (['infinite_width'], 'one_layer describes one hidden layer, this network has 2')
    """
    chosen = list(THEORIES) if names is None else list(names)
    for name in chosen:
        if name not in THEORIES:
            near = difflib.get_close_matches(name, THEORIES, n=1, cutoff=0.3)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise InputError(f"unknown theory {name!r}: {hint}known are {', '.join(THEORIES)}")
    try:
        regression = gram_regression(spec, data)
    except NotApplicable as error:
        return Predictions({}, dict.fromkeys(chosen, str(error)), None, str(error))
    results, not_applicable = {}, {}
    for name in chosen:
        try:
            results[name] = THEORIES[name](spec, data, regression)
        except NotApplicable as error:
            not_applicable[name] = str(error)
    criterion = regression.criterion()
    singular = "" if criterion is not None else "the Gram matrix is singular: yᵀK⁻¹y is infinite"
    return Predictions(results, not_applicable, criterion, singular)


def gram_regression(spec: EnsembleSpec, data: Dataset) -> Regression:
    """The decomposed infinite-width Gram matrix K_L, which every theory here starts from.

    Raises:
        InputError: inputs that do not fit `spec`, or float64 switched off.
        NotApplicable: the package does not know the network's Gram matrix.
    """
    return decompose(gram_blocks(spec, data), data.y_train)


def infinite_width(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """The Gaussian process that the network becomes as its widths grow: Q = 1, any depth.

    With k = K_L(X, x) and A = T I + K_L(X, X): mean = kᵀA⁻¹y, variance = K_L(x, x) − kᵀA⁻¹k
    (Lee et al. 2018, arXiv:1711.00165). Without hidden layers it is exact: Bayesian linear
    regression.

    Args:
        spec: the ensemble.
        data: its training and test examples.
        regression: `gram_regression(spec, data)`, if it is there already.

    Raises:
        NotApplicable: the package does not know the network's Gram matrix.
        InputError: inputs that do not fit `spec`; T = 0 with a singular Gram matrix.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.datasets import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> infinite_width(linear, data).predictive_mean
    array([ 0.5, -0.5])
    """
    regression = regression or gram_regression(spec, data)
    moments = moments_at_scale(regression, spec.temperature, scale=1.0)
    return _generalisation("infinite_width", data, moments)


def one_layer(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """One hidden layer of finite width: the Gaussian process with Q* K_1, Q* minimising S(Q).

    S is the action of `OneLayerAction` (Pacelli et al. 2023, arXiv:2209.04882; Baglioni et al.
    2024, arXiv:2401.11004). It is derived for odd σ; for another, `message` says what is missing.
    If no minimum is found, the predictions are NaN and `converged` is False.

    Arguments and errors as for `infinite_width`; one hidden layer, or NotApplicable.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> from langevin_nn.model.datasets import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=0.0)  # K = I: s = 4, α = ½
    >>> print(f"{one_layer(spec, data).order_parameters[0]:.9f}")
    1.686140662
    """
    width = _one_hidden_width("one_layer", spec)
    regression = regression or gram_regression(spec, data)
    saddle = minimise(_action(width, spec, regression))
    moments = moments_at_scale(regression, spec.temperature, saddle.value)
    message = _joined(saddle.message, _about_the_mean(spec))
    return _generalisation("one_layer", data, moments, saddle.converged, message)


def scale_mixture(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """One hidden layer of finite width: the average over Q in place of the saddle point.

    f | Q ~ GP(0, Q K_1) with posterior weight exp(−S(Q)/2) d(log Q); with m_Q and s_Q the mean and
    variance at Q, mean = E[m_Q], variance = E[s_Q] + Var[m_Q] (`moments.average_over_scale`). The
    order parameter is E[Q | data].

    It is exact, at any width, where the network's prior is this mixture: for identity σ. For other
    σ it is the paper's Student-t prior (Pacelli et al. 2023, arXiv:2209.04882).

    Arguments and errors as for `infinite_width`; one hidden layer, or NotApplicable.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> from langevin_nn.model.datasets import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=0.0)
    >>> result = scale_mixture(spec, data)
    >>> print(result.converged, f"{result.order_parameters[0]:.6f}")
    True 1.803385
    """
    width = _one_hidden_width("scale_mixture", spec)
    regression = regression or gram_regression(spec, data)
    average = average_over_scale(_action(width, spec, regression), regression)
    message = _joined(average.message, _about_the_mean(spec))
    return _generalisation("scale_mixture", data, average.moments, average.converged, message)


THEORIES: dict[str, Theory] = {
    "infinite_width": infinite_width,
    "one_layer": one_layer,
    "scale_mixture": scale_mixture,
}


def _one_hidden_width(theory: str, spec: EnsembleSpec) -> int:
    """N_1 of a network with one hidden layer, the only kind that `theory` describes."""
    if spec.hidden_widths is None:
        raise NotApplicable(
            f"{theory} describes one hidden layer of a FullyConnected network, "
            f"not {spec.architecture}"
        )
    if len(spec.hidden_widths) != 1:
        raise NotApplicable(
            f"{theory} describes one hidden layer, this network has {len(spec.hidden_widths)}"
        )
    return spec.hidden_widths[0]


def _about_the_mean(spec: EnsembleSpec) -> str:
    """What the one common scale leaves out where σ is not odd."""
    if spec.activation is None or spec.activation.odd:
        return ""
    return (
        f"{spec.activation.name} is not odd: the mean of its features is treated as part of the "
        "one common scale Q"
    )


def _action(width: int, spec: EnsembleSpec, regression: Regression) -> OneLayerAction:
    regression.check_temperature(spec.temperature)
    return OneLayerAction(
        width, spec.temperature, regression.eigenvalues, regression.projected_targets
    )


def _joined(*messages: str) -> str:
    return "; ".join(filter(None, messages))


def _generalisation(
    name: str, data: Dataset, moments: Moments, converged: bool = True, message: str = ""
) -> Generalisation:
    bias2 = float(np.mean(np.square(data.y_test - moments.mean)))
    variance = float(np.mean(moments.variance))
    threshold = data.targets_midpoint
    correct = (moments.mean > threshold) == (data.y_test > threshold)
    return Generalisation(
        name=name,
        predictive_mean=moments.mean,
        predictive_variance=moments.variance,
        bias2=Estimate(bias2),
        variance=Estimate(variance),
        generalisation_error=Estimate(bias2 + variance),
        train_error=Estimate(float(moments.train_error)),
        test_accuracy=Estimate(float(np.mean(correct))),
        order_parameters=(float(moments.order_parameter),),
        converged=converged,
        message=message,
    )
