"""Hidden layers that renormalise one after the other: the theory `nested`.

    K_ℓ(Q) = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1}(Q)),   K_0 = C,
    S(Q) = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ) + log det(T I + K_L(Q)) + yᵀ(T I + K_L(Q))⁻¹y

(Pacelli et al. 2023, arXiv:2209.04882). Each Q_ℓ but the last changes the shape of K_L, so that the
minimum takes a factorisation for each step (`newton`).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Array, Float
from scipy import linalg

from langevin_nn.footprint import Needs
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import Arrays, Lambdas, of_kernel
from langevin_nn.theory.effective.common import (
    about_the_mean,
    in_range,
    misfit_curvature,
    scale_action,
)
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.kernels.layers import feature_gram, host_gram
from langevin_nn.theory.kernels.nngp import fields, gram_blocks
from langevin_nn.theory.kernels.order_derivatives import order_tangents
from langevin_nn.theory.regression.factorise import decompose
from langevin_nn.theory.regression.moments import (
    gaussian_evidence,
    generalisation,
    joined,
    moments_at_scale,
    not_found,
)
from langevin_nn.theory.saddles.newton import local_minimum, lowest
from langevin_nn.theory.saddles.scale import minimise
from langevin_nn.types import EnsembleSpec, Generalisation

__all__ = ["THEORY", "nested"]

_domain = partial(require, "nested")


def nested(ensemble: Ensemble) -> Generalisation:
    """Hidden layers that renormalise one after the other: K_ℓ = (Q_ℓ/λ_ℓ) κ(K_{ℓ−1}), any depth.

    S = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ) + log det(T + K_L(Q)) + yᵀ(T + K_L(Q))⁻¹y, K_ℓ (P, P) and y
    (P,), is minimised over Q_1 … Q_L by Newton's method in log Q, from Q = 1 and from the minimum
    of `global_`; the lower minimum counts (Pacelli et al. 2023, arXiv:2209.04882). It is derived
    for odd σ.

    Arguments and errors as for `infinite_width`; hidden layers and one output, or NotApplicable.

    >>> from langevin_nn.theory.effective.global_scale import global_
    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (4, 8), relu, (0.5, 1.0, 1.0), temperature=0.1)
    >>> for theory in (nested, global_):  # the same for relu
    ...     print(np.round(theory(Ensemble(spec, data)).order_parameters, 6))
    [2.798098 1.899049]
    [2.798098 1.899049]
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    widths = _domain(ensemble)
    spec, data, regression = ensemble.spec, ensemble.data, gram_regression(ensemble)
    train = fields(spec, data.x_train)
    targets, noise, basis, constant = in_range(ensemble)
    action = _Action(spec, train, targets, noise, basis)
    common, _ = scale_action(spec, regression, widths)
    shared = minimise(common)
    starts = [np.zeros(len(widths))]
    if shared.converged:
        starts.append(np.log(common.orders(float(np.log(shared.value)))))
    minimum = lowest([local_minimum(action.derivatives, start) for start in starts])
    if not np.all(np.isfinite(minimum.point)):
        return Solution(not_found("nested", data, minimum.message))
    orders = tuple(float(order) for order in np.exp(minimum.point))
    renormalised = decompose(gram_blocks(ensemble, orders), data.y_train)
    evidence = gaussian_evidence(minimum.action + constant, data.num_train)
    stiffness = 1 / sum(1 / (n * order) for n, order in zip(widths, orders, strict=True))
    curvature = stiffness + misfit_curvature(spec, renormalised)
    moments = moments_at_scale(renormalised, spec.temperature, 1.0, evidence, curvature)
    message = joined(minimum.message, about_the_mean(spec))
    return Solution(
        generalisation("nested", data, moments, orders, minimum.converged, message),
        partial(of_kernel, _Kernel, ensemble, orders),
    )


@dataclass(frozen=True, eq=False)
class _Action:
    """S as a function of log Q_1 … log Q_L, from targets and T I + V Vᵀ in the range of K.

    With the Cholesky factor L of A, z = L⁻¹y and W_i = L⁻¹(∂_i K)L⁻ᵀ, the derivatives of
    log det A + yᵀA⁻¹y are

        Tr W_i − zᵀW_i z,   Σ (A⁻¹ − A⁻¹y yᵀA⁻¹) ∘ ∂_i ∂_j K − Tr W_i W_j + 2 (W_i z)·(W_j z).
    """

    spec: EnsembleSpec
    train: Float[np.ndarray, "1 P M"]
    targets: Float[np.ndarray, " r"]
    noise: Float[np.ndarray, "r r"]
    basis: Float[np.ndarray, "P r"] | None

    def derivatives(
        self, q: Float[np.ndarray, " L"]
    ) -> tuple[float, Float[np.ndarray, " L"], Float[np.ndarray, "L L"]]:
        """S, its gradient and its Hessian; infinite, and NaN, where A has no Cholesky factor."""
        with np.errstate(all="ignore"):  # what overflows is told where the action is used
            try:
                return self._derivatives(q)
            except (np.linalg.LinAlgError, ValueError):  # not positive definite, or not finite
                return np.inf, np.full(q.shape, np.nan), np.full((q.size, q.size), np.nan)

    def _derivatives(
        self, q: Float[np.ndarray, " L"]
    ) -> tuple[float, Float[np.ndarray, " L"], Float[np.ndarray, "L L"]]:
        assert self.spec.hidden_widths is not None, "`require` has checked it"
        widths, orders = np.array(self.spec.hidden_widths, float), np.exp(q)
        gram = self._in_range(host_gram(self.spec, self.train, self.train, orders))
        gram += self.noise
        factor = linalg.cholesky(gram, lower=True, overwrite_a=True)
        whitened = linalg.solve_triangular(factor, self.targets, lower=True)
        value = np.sum(widths * (np.expm1(q) - q)) + whitened @ whitened
        value += 2 * np.sum(np.log(np.diagonal(factor)))
        weights = linalg.cho_solve((factor, True), np.eye(len(factor)), overwrite_b=True)
        solved = linalg.cho_solve((factor, True), self.targets)
        weights -= np.outer(solved, solved)
        if self.basis is not None:
            weights = self.basis @ weights @ self.basis.T
        tangents, second = order_tangents(self.spec, self.train[0], orders, weights)
        del weights
        for i, tangent in enumerate(tangents):
            half = linalg.solve_triangular(
                factor, self._in_range(tangent), lower=True, overwrite_b=True
            )
            whole = linalg.solve_triangular(factor, half.T, lower=True, overwrite_b=True)
            tangents[i] = np.ascontiguousarray(whole.T)  # W_i is symmetric
        along = np.array([tangent @ whitened for tangent in tangents])
        slope = widths * np.expm1(q) - along @ whitened
        slope += [np.trace(tangent) for tangent in tangents]
        curvature = np.diag(widths * orders) + second + 2 * along @ along.T
        for i, whitened_tangent in enumerate(tangents):
            for j in range(i + 1):
                curvature[i, j] -= np.vdot(whitened_tangent, tangents[j])
                curvature[j, i] = curvature[i, j]
        return float(value), slope, curvature

    def _in_range(self, gram: Float[np.ndarray, "P P"]) -> Float[np.ndarray, "r r"]:
        return gram if self.basis is None else self.basis.T @ gram @ self.basis


@dataclass(frozen=True)
class _Kernel:
    """K_L with the order parameters of all layers, as a function of the precisions."""

    skeleton: EnsembleSpec

    def __call__(self, prior_precisions: Lambdas, arrays: Arrays) -> Float[Array, "P P"]:
        (precisions, biases), (train, orders) = prior_precisions, arrays
        return feature_gram(
            self.skeleton, train, train, precisions=precisions, bias_precisions=biases,
            orders=orders,
        )  # fmt: skip


def _twin(ensemble: Ensemble) -> str:
    is_one_layer = len(ensemble.spec.hidden_widths or ()) == 1
    return "with one hidden layer nested is one_layer: ask for it by name" if is_one_layer else ""


THEORY = Theory(
    "nested",
    _solve,
    summary="Hidden layers that renormalise one after the other, at the saddle point of all Q.",
    style={"color": "#D55E00", "linestyle": "-.", "marker": "v"},
    domain=_domain,
    twin=_twin,
    needs=Needs(12.0, per_layer=1.0, programs=30e6, least_depth=2),
)
