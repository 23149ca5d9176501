"""Theories whose order parameters are scales of Gram matrices: an ensemble in, a result out.

Each theory is a Gaussian process f | Q ~ GP(0, K_R(Q)) and a rule for the order parameters Q:

    infinite_width   K_L            Q = 1                          any depth
    global           Q_1 ⋯ Q_L K_L  Q* minimises S(Q_1 … Q_L)      any depth
    scale_mixture    Q_1 ⋯ Q_L K_L  averages over Q                any depth

with S of `action.ScaleAction`. A bias of the read-out adds its own covariance to K_R, which no
order parameter renormalises. The others are in `one_layer`, `nonodd`,
`nested` and `matrices`.
"""

import numpy as np
from jaxtyping import Float

from langevin_nn.data.load import Dataset
from langevin_nn.theory.applicability import require
from langevin_nn.theory.decompositions import gram_regression
from langevin_nn.theory.kernels.nngp import readout_columns
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.theory.regression.moments import (
    Moments,
    average_over_scale,
    gaussian_evidence,
    generalisation,
    moments_at_scale,
)
from langevin_nn.theory.saddles.scale import ScaleAction, minimise
from langevin_nn.types import EnsembleSpec, Generalisation

__all__ = [
    "global_",
    "infinite_width",
    "about_the_mean",
    "at_common_scale",
    "in_range",
    "joined",
    "scale_action",
    "scale_mixture",
]


def infinite_width(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """The Gaussian process that the network becomes as its widths grow: Q = 1, any depth.

    With k = K_L(X, x) (P,), A = T I + K_L(X, X) (P, P) and y (P,), for each output alone,
    mean = kᵀA⁻¹y, variance = K_L(x, x) − kᵀA⁻¹k (Lee et al. 2018, arXiv:1711.00165; Rasmussen and
    Williams 2006, eqs. 2.25 and 2.26). Without hidden layers it is exact: Bayesian linear
    regression.

    Args:
        spec: the ensemble.
        data: its training and test examples.
        regression: `gram_regression(spec, data)`, if it is there already.

    Raises:
        NotApplicable: the package does not know the network's Gram matrix; a loss that is not the
            squared one.
        InputError: inputs that do not fit `spec`; a `regression` of another ensemble; T = 0 where
            the Gram matrix is singular and the read-out's bias alone explains a part of the data.

    T = 0 is the limit T → 0, also where the Gram matrix is singular (`regression`).

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.data.load import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> infinite_width(linear, data).predictive_mean
    array([ 0.5, -0.5])
    """
    regression = gram_regression(spec, data, regression)
    outputs = []
    for one in regression.per_output():
        action, constant = scale_action(spec, one, (1,))
        evidence = gaussian_evidence(float(action.misfit(0.0)) + constant, data.num_train)
        outputs.append(moments_at_scale(one, spec.temperature, 1.0, evidence))
    moments = outputs[0] if data.y_train.ndim == 1 else _stacked(outputs)
    return generalisation("infinite_width", data, moments, (1.0,))


def global_(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """Hidden layers that share one scale: the Gaussian process with Q_1 ⋯ Q_L K_L, any depth.

    The equivalent Wishart ansatz (arXiv:2605.29684). S = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ) +
    log det(T + Q_1 ⋯ Q_L K_L) + yᵀ(…)⁻¹y, K_L (P, P) and y (P,), is minimised over Q_1 … Q_L, which
    are the order parameters; widths may differ. Named "global" in tables and files. With one hidden
    layer it is `one_layer`, for relu it is `nested`.

    Arguments and errors as for `infinite_width`; hidden layers and one output, or NotApplicable.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> from langevin_nn.data.load import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> spec = EnsembleSpec(2, (4, 4), identity, (0.5, 1.0, 1.0), temperature=0.0)
    >>> q, _ = global_(spec, data).order_parameters
    >>> print(f"{1 - q:.9f} {0.5 * (1 - 4 / q**2):.9f}")  # 1 − Q = α (1 − s/Q^L)
    -0.450540170 -0.450540170
    """
    widths = require("global", spec)
    return at_common_scale("global", widths, spec, data, regression)


def scale_mixture(
    spec: EnsembleSpec, data: Dataset, regression: Regression | None = None
) -> Generalisation:
    """Finite width without a saddle point: the average over Q = Q_1 ⋯ Q_L in Q K_L.

    Q_ℓ ~ Gamma(N_ℓ/2, rate N_ℓ/2), and with m_Q and s_Q the mean and variance at Q,
    mean = E[m_Q], variance = E[s_Q] + Var[m_Q] under the posterior of Q, p(Q) N(y; 0, T + Q K_L) up
    to its norm, K_L (P, P) and y (P,) (`moments`). The order
    parameter is E[Q | data]; the log evidence is the mixture's own.

    It is exact, at any width, where the network's prior is this mixture: for identity σ at any
    depth. For other σ with one hidden layer it is the Student-t prior of Pacelli et al. (2023),
    arXiv:2209.04882, E[exp(−Q s̄ᵀK s̄/2)] = (1 + s̄ᵀK s̄/N_1)^(−N_1/2).

    Arguments and errors as for `infinite_width`; hidden layers and one output, or NotApplicable.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> from langevin_nn.model.activations import identity
    >>> from langevin_nn.data.load import Dataset
    >>> from langevin_nn.types import EnsembleSpec
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=0.0)
    >>> result = scale_mixture(spec, data)
    >>> print(result.converged, f"{result.order_parameters[0]:.6f}")
    True 1.803385
    """
    widths = require("scale_mixture", spec)
    regression = gram_regression(spec, data, regression)
    average = average_over_scale(*scale_action(spec, regression, widths), regression)
    message = joined(average.message, about_the_mean(spec))
    orders = (average.order_parameter,)
    return generalisation(
        "scale_mixture", data, average.moments, orders, average.converged, message
    )


def scale_action(
    spec: EnsembleSpec, regression: Regression, widths: tuple[int, ...]
) -> tuple[ScaleAction, float]:
    """S of one output's decomposed Gram matrix, and the constant that a singular one adds to it.

    The constant is not part of S, which it would drown (`Regression.resolved`).

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> action, constant = scale_action(linear, gram_regression(linear, data), (4,))
    >>> print(f"{action.misfit(0.0):.9f} {2 * np.log(2) + 8 / 2:.9f} {constant}")
    5.386294361 5.386294361 0.0
    """
    *parts, constant = regression.resolved(spec.temperature)
    return ScaleAction(widths, spec.temperature, *parts), constant


def in_range(
    spec: EnsembleSpec, data: Dataset, regression: Regression
) -> tuple[
    Float[np.ndarray, " r"], Float[np.ndarray, "r r"], Float[np.ndarray, "P r"] | None, float
]:
    """Targets, T I + V Vᵀ, a basis of the range of K, and what the other directions add to S.

    For actions that make their Gram matrices themselves: K_R(Q) vanishes where K does, whatever
    Q > 0 is, and its rounding errors there would be taken for a signal. The basis is None, and the
    parts are of all P directions, where K is regular or the columns V do not vanish with it.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> twice = Dataset("twice", np.eye(2)[[0, 0]], np.array([1.0, -1.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)
    >>> targets, noise, basis, constant = in_range(linear, twice, gram_regression(linear, twice))
    >>> noise, basis.shape, round(constant, 9)  # log T + (y_1 − y_2)²/2T
    (array([[1.]]), (2, 1), 2.0)
    """
    _, targets, columns, constant = regression.resolved(spec.temperature)
    if len(targets) == data.num_train:
        columns = readout_columns(spec, data.num_train)
        noise = spec.temperature * np.eye(data.num_train) + columns @ columns.T
        return data.y_train, noise, None, constant
    noise = spec.temperature * np.eye(len(targets)) + columns @ columns.T
    return targets, noise, regression.eigenvectors[:, regression.in_range], constant


def about_the_mean(spec: EnsembleSpec) -> str:
    """What scales alone leave out where σ is not odd.

    >>> from langevin_nn.model.activations import erf
    >>> about_the_mean(EnsembleSpec(2, (9,), erf, (1.0, 1.0), temperature=0.1))
    ''
    """
    if spec.activation is None or spec.activation.odd:
        return ""
    return (
        f"{spec.activation.name} is not odd: the mean of its features is treated as part of what "
        "the order parameters scale"
    )


def joined(*messages: str) -> str:
    """The messages that are not empty.

    >>> joined("", "two minima", "not odd")
    'two minima; not odd'
    """
    return "; ".join(filter(None, messages))


def at_common_scale(
    name: str,
    widths: tuple[int, ...],
    spec: EnsembleSpec,
    data: Dataset,
    regression: Regression | None,
) -> Generalisation:
    """The Gaussian process with Q* K_L, Q* minimising the `ScaleAction` of these widths.

    >>> import jax, numpy as np
    >>> jax.config.update("jax_enable_x64", True)
    >>> data = Dataset("two points", np.eye(2), np.array([2.0, -2.0]), np.eye(2), np.ones(2))
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=0.0)
    >>> found = at_common_scale("mine", (4,), linear, data, None)
    >>> print(f"{found.order_parameters[0]:.9f}")
    1.686140662
    """
    regression = gram_regression(spec, data, regression)
    action, constant = scale_action(spec, regression, widths)
    saddle = minimise(action)
    evidence = gaussian_evidence(saddle.action + constant, data.num_train)
    moments = moments_at_scale(regression, spec.temperature, saddle.value, evidence)
    message = joined(saddle.message, about_the_mean(spec))
    orders = action.orders(float(np.log(saddle.value)))
    return generalisation(name, data, moments, orders, saddle.converged, message)


def _stacked(outputs: list[Moments]) -> Moments:
    return Moments(
        mean=np.stack([each.mean for each in outputs], axis=1),
        variance=np.stack([each.variance for each in outputs], axis=1),
        train_error=sum(each.train_error for each in outputs),
        log_evidence=sum(each.log_evidence for each in outputs),
    )
