"""One hidden layer whose activation has a mean: the theory `one_layer_nonodd`.

Let m_μ = E[σ(√C_μμ z)] be the mean of the features and M = m mᵀ/λ_1 its part of the Gram matrix
K_1. The N_1 units' sum of squares of s̄·σ, with s̄·σ Gaussian of mean s̄·m and variance
λ_1 s̄ᵀ(K_1 − M)s̄, gives

    E exp(…) = (1 + X/N_1)^(−N_1/2) exp(−½ Y/(1 + X/N_1)),   X = s̄ᵀ(K_1 − M)s̄,   Y = s̄ᵀM s̄

and, with R for X/N_1 and its conjugate Q (Pacelli et al. 2023, arXiv:2209.04882),

    K_R = Q (K_1 − M) + M/(1 + R),
    S(Q, R) = N_1 (−Q R + log(1 + R)) + log det(T I + K_R) + yᵀ(T I + K_R)⁻¹y.

Q is real and R runs along the imaginary axis, so that the saddle is a maximum in R and a minimum in
Q: min_Q max_R S. With c = 1/(1 + R) and A_b = T I + Q (K_1 − M) + (the bias of the read-out),
μ = m̂ᵀA_b⁻¹m̂, ν = m̂ᵀA_b⁻¹y for m̂ = m/√λ_1, the stationary c at fixed Q are the positive roots of

    N_1 (Q − c)(1 + cμ)² + c²μ(1 + cμ) − c²ν² = 0.

Without a mean c = Q, and S is that of `saddles.scale.ScaleAction`.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import Arrays, Lambdas, of_kernel
from langevin_nn.theory.kernels.layers import feature_gram
from langevin_nn.theory.kernels.means import feature_means
from langevin_nn.theory.kernels.nngp import GramBlocks, gram_blocks, probe_inputs
from langevin_nn.theory.regression.factorise import decompose
from langevin_nn.theory.regression.moments import (
    gaussian_evidence,
    generalisation,
    moments_at_scale,
)
from langevin_nn.theory.saddles import low_rank
from langevin_nn.theory.saddles.low_rank import ColumnTerms, Form, Numbers
from langevin_nn.theory.saddles.scale import ScaleAction, minimise
from langevin_nn.types import EnsembleSpec, Generalisation

__all__ = ["THEORY", "NonOddAction", "one_layer_nonodd"]

_domain = partial(require, "one_layer_nonodd", depth=1, least_width=2)


def one_layer_nonodd(ensemble: Ensemble) -> Generalisation:
    """One hidden layer whose activation has a mean: K_R = Q (K_1 − M) + M/(1 + R).

    M = m mᵀ/λ_1 with m_μ = E[σ(√C_μμ z)]. S(Q, R) of `NonOddAction` is maximal in R and
    minimal in Q at the saddle point (Pacelli et al. 2023, arXiv:2209.04882). The order parameters
    are Q and R. For odd σ, R = 1/Q − 1 and the rest is `one_layer`.

    With A = T I + K_R, S = N_1 (−Q R + log(1 + R)) + log det A + yᵀA⁻¹y; K_1, M, A (P, P); m, y
    (P,). `rpacelli/deepbays`, code by the paper's authors, names this action its eq. 105, up to a
    factor β in the logarithm that it takes for a misprint. The substitution that a talk of theirs
    gives, Q K_1 → Q K_1 − (Q + 1/(1 + R)) M, has a misprint too: the sign of 1/(1 + R) is minus, as
    here, since Q = 1, R = 0 must give K_1.

    Arguments and errors as for `infinite_width`; one hidden layer of at least two units and one
    output, or NotApplicable. At T = 0, m must vanish where K_1 − M does.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (10**9,), relu, (0.5, 1.0), temperature=0.1)
    >>> q, r = one_layer_nonodd(Ensemble(spec, data)).order_parameters
    >>> print(f"{q:.6f} {abs(r):.6f}")
    1.000000 0.000000
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    (width,) = _domain(ensemble)
    spec, data = ensemble.spec, ensemble.data
    regression = decompose(_centred_blocks(ensemble), data.y_train)
    *resolved, constant = regression.resolved(spec.temperature)
    action = NonOddAction(width, spec.temperature, *resolved)
    saddle = minimise(action)
    weight = action.mean_weight(float(np.log(saddle.value))) if saddle.converged else np.nan
    factors = np.ones(regression.test_columns.shape[1])
    factors[-1] = np.sqrt(weight)
    weighted = replace(
        regression,
        projected_columns=regression.projected_columns * factors,
        test_columns=regression.test_columns * factors,
    )
    evidence = gaussian_evidence(saddle.action + constant, data.num_train)
    curvature = float(action.curvature(float(np.log(saddle.value))))
    moments = moments_at_scale(weighted, spec.temperature, saddle.value, evidence, curvature)
    orders = (saddle.value, float(1 / weight - 1))
    return Solution(
        generalisation("one_layer_nonodd", data, moments, orders, saddle.converged, saddle.message),
        partial(of_kernel, _Kernel, ensemble, orders),
    )


def _centred_blocks(ensemble: Ensemble) -> GramBlocks:
    """The blocks of K_1 − M, with m/√λ_1 as the last of the columns V."""
    spec, data = ensemble.spec, ensemble.data
    blocks = gram_blocks(ensemble)
    train, test = (np.asarray(feature_means(spec, x)) for x in (data.x_train, data.x_test))

    def centred_probe() -> tuple[Float[np.ndarray, "n P"], Float[np.ndarray, " n"]]:
        assert blocks.probe is not None, "`gram_blocks` has made it"
        cross, diagonal = blocks.probe()
        probe_means = np.asarray(feature_means(spec, probe_inputs(data.x_train)))
        return cross - np.outer(probe_means, train), diagonal - probe_means**2

    return GramBlocks(
        train=blocks.train - np.outer(train, train),
        cross=blocks.cross - np.outer(test, train),
        test_diagonal=blocks.test_diagonal - test**2,
        train_columns=np.column_stack([blocks.train_columns, train]),
        test_columns=np.column_stack([blocks.test_columns, test]),
        probe=centred_probe,
        uncertainty=blocks.uncertainty,
    )


class _AtScale(NamedTuple):
    """S and its derivatives in q = log Q and t = log c, at the c that maximises S."""

    log_c: Numbers
    value: Numbers
    gradient: Numbers
    second: Numbers  # S_qq
    mixed: Numbers  # S_qt
    inner: Numbers  # S_tt, negative


@dataclass(frozen=True, eq=False)
class NonOddAction:
    """max_R S(Q, R) as a function of q = log Q; satisfies `saddles.scale.Action`.

    Args:
        width: N_1, at least 2.
        temperature: T; zero where every eigenvalue is positive.
        eigenvalues: of K_1 − M, shape (P,).
        projected_targets: ỹ, shape (P,).
        projected_columns: in the eigenbasis, shape (P, r), m/√λ_1 last.

    Without a mean it is the `ScaleAction`:

    >>> e, y = np.array([0.5, 2.0]), np.array([1.0, -1.0])
    >>> action, odd = NonOddAction(4, 0.1, e, y, np.zeros((2, 1))), ScaleAction((4,), 0.1, e, y)
    >>> print(f"{action.value(0.3) - odd.value(0.3):.9f} {action.mean_weight(0.3):.9f}")
    0.000000000 1.349858808
    """

    width: int
    temperature: float
    eigenvalues: Float[np.ndarray, " P"]
    projected_targets: Float[np.ndarray, " P"]
    projected_columns: Float[np.ndarray, "P r"]

    def value(self, q: Numbers) -> Numbers:
        """max_R S(Q, R) at Q = exp(q)."""
        return self._at(q).value

    def gradient(self, q: Numbers) -> Numbers:
        """d/dq max_R S, which is ∂S/∂q at the maximum, since ∂S/∂R = 0."""
        return self._at(q).gradient

    def curvature(self, q: Numbers) -> Numbers:
        """d²/dq² max_R S = S_qq − S_qt²/S_tt with t = log c."""
        at = self._at(q)
        return at.second - at.mixed**2 / at.inner

    def mean_weight(self, q: float) -> float:
        """c = 1/(1 + R), the weight of M."""
        return float(np.exp(self._at(q).log_c))

    def bracket(self) -> tuple[float, float]:
        """An interval of q that holds every minimum of max_R S, from that of a `ScaleAction`.

        The two have the same dS/dq for V = (V_b, √c m̂) and u = N_1 (Q − 1); only the trace
        tr A⁻¹(A − T) can be larger, by one, when T > 0.
        """
        scale_action = ScaleAction(
            (self.width,), self.temperature, self.eigenvalues, self.projected_targets,
            self.projected_columns,
        )  # fmt: skip
        lowest, highest = scale_action.bracket()
        if self.temperature > 0:
            lowest += float(np.log1p(-1 / self.width))
        return lowest, highest

    def gradient_rounding(self, q: float) -> float:
        """How far rounding may put `gradient(q)` off."""
        size = self.width * (1 + np.exp(q)) + self.eigenvalues.size
        return float(64 * np.finfo(np.float64).eps * size)

    def _at(self, q: Numbers) -> _AtScale:
        signal = np.multiply.outer(np.exp(q), self.eigenvalues)
        spectrum = self.temperature + signal
        terms = ColumnTerms.of(signal, spectrum, self.projected_targets, self.projected_columns)
        t = self._log_mean_weight(q, terms)
        identity = np.eye(self.projected_columns.shape[1])
        unscaled = Form(terms.base.core - identity, terms.base.projection)
        scaled, first, second = (_scaled(form, t) for form in (unscaled, *terms[1:]))
        full = ColumnTerms(scaled._replace(core=scaled.core + identity), first, second)
        along_c, mixed = _in_log_c(scaled), _in_log_c(first)
        squares, temperature = self.projected_targets**2, self.temperature
        lever, scale = self.width * np.exp(q - t), self.width * np.exp(q)
        misfit = np.sum(np.log(spectrum) + squares / spectrum, axis=-1)
        slopes = signal / spectrum * (1 - squares / spectrum)
        bends = signal / spectrum**2 * (temperature - squares * (temperature - signal) / spectrum)
        return _AtScale(
            log_c=t,
            value=scale - lever - self.width * t + misfit + low_rank.value(full),
            gradient=scale - lever + np.sum(slopes, axis=-1) + low_rank.first_derivative(full),
            second=scale - lever + np.sum(bends, axis=-1) + low_rank.second_derivative(full),
            mixed=lever + low_rank.second_derivative(full, first, along_c, mixed),
            inner=-lever + low_rank.second_derivative(full, along_c, along_c, _in_log_c(along_c)),
        )

    def _log_mean_weight(self, q: Numbers, terms: ColumnTerms) -> Numbers:
        """log c where S is largest in R, among the roots of the cubic."""
        core, g = terms.base
        inner, side = core[..., :-1, :-1], core[..., :-1, -1]
        weights = np.linalg.solve(inner, side[..., None])[..., 0]
        mu = np.asarray(core[..., -1, -1] - 1 - np.sum(side * weights, axis=-1))[..., None]
        nu = np.asarray(g[..., -1] - np.sum(weights * g[..., :-1], axis=-1))[..., None]
        scale = np.asarray(np.exp(q))[..., None]
        coefficients = np.concatenate(
            [
                (1 - self.width) * mu**2,
                self.width * (mu**2 * scale - 2 * mu) + mu - nu**2,
                self.width * (2 * mu * scale - 1),
                self.width * scale,
            ],
            axis=-1,
        )
        t = np.apply_along_axis(_log_positive_roots, -1, coefficients)
        for _ in range(4):  # np.roots gives them to about 1e-8: Newton's method on ∂S/∂t
            c = np.exp(t)
            share, lever = 1 / (1 + c * mu), self.width * scale / c
            slope = lever - self.width + c * share * (mu - nu**2 * share)
            bend = -lever + c * mu * share**2 - nu**2 * c * share**3 * (1 - c * mu)
            t = t - np.divide(slope, bend, out=np.zeros_like(t), where=bend != 0)
        c = np.exp(t)
        heights = np.log1p(c * mu) - c * nu**2 / (1 + c * mu) - self.width * (scale / c + t)
        best = np.argmax(np.where(np.isfinite(heights), heights, -np.inf), axis=-1)
        chosen = np.take_along_axis(t, best[..., None], axis=-1)[..., 0]
        return chosen if chosen.ndim else float(chosen)


def _log_positive_roots(cubic: Float[np.ndarray, " 4"]) -> Float[np.ndarray, " 3"]:
    """The logarithms of the positive roots; NaN in the place of the others."""
    roots = np.roots(cubic)
    positive = (np.abs(roots.imag) <= 1e-6 * np.abs(roots)) & (roots.real > 0)
    logs = np.full(3, np.nan)
    logs[: roots.size][positive] = np.log(roots.real[positive])
    return logs


def _scaled(form: Form, t: Numbers) -> Form:
    """VᵀD V and VᵀDỹ with the last column of V times exp(t/2)."""
    factors = np.ones(form.projection.shape)
    factors[..., -1] = np.exp(np.asarray(t) / 2)
    return Form(
        form.core * factors[..., :, None] * factors[..., None, :], form.projection * factors
    )


def _in_log_c(form: Form) -> Form:
    """The derivative in t = log c of a form whose last column is scaled by exp(t/2)."""
    powers = np.zeros(form.projection.shape[-1])
    powers[-1] = 0.5
    return Form(form.core * np.add.outer(powers, powers), form.projection * powers)


@dataclass(frozen=True)
class _Kernel:
    """Q (K_1 − M) + M/(1 + R) as a function of the precisions."""

    skeleton: EnsembleSpec

    def __call__(self, prior_precisions: Lambdas, arrays: Arrays) -> Float[Array, "P P"]:
        (precisions, biases), (train, orders) = prior_precisions, arrays
        gram = feature_gram(
            self.skeleton, train, train, precisions=precisions, bias_precisions=biases
        )
        means = feature_means(self.skeleton, train[0], precisions, biases)
        outer = means[:, None] * means[None, :]
        return orders[0] * (gram - outer) + outer / (1 + orders[1])


def _twin(ensemble: Ensemble) -> str:
    sigma = ensemble.spec.activation
    if sigma is None or not sigma.odd:
        return ""
    return f"{sigma.name} is odd, which makes one_layer_nonodd one_layer: ask for it by name"


THEORY = Theory(
    "one_layer_nonodd",
    _solve,
    summary="One hidden layer of units with a mean: a scale of K_1 and one of the mean's part.",
    style={"color": "#56B4E9", "linestyle": "-.", "marker": "P"},
    domain=_domain,
    twin=_twin,
    needs=Needs(6.5, least_depth=1, most_depth=1),
    is_first=True,
)
