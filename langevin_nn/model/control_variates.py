"""Control variates of a marginalised posterior: functions of its weights whose mean is zero.

With whitened weights q, whose posterior is ∝ exp(−Φ(q) − ½q²), the generator of Langevin dynamics

    (Lφ)(q) = Δφ − (q + ∇Φ)·∇φ

has the posterior mean zero for every smooth φ, by parts (Assaraf, Caffarel, Phys. Rev. Lett. 83,
4682, 1999; Mira, Solgi, Imparato, Stat. Comput. 23, 653, 2013). Where φ solves Lφ = m − ⟨m⟩ nothing
is left of the noise of m_W(x), the mean of f given the hidden weights; the better the guess, the
less. Three are made for each test input x, of one hidden layer with units i, features φ_i (P,) and
φ_i(x), so scaled that K_W = Σ_i φ_i φ_iᵀ, and preactivations h_i:

    φ¹ = m_W(x) itself,
    φ² = Σ_i (φ_i(x) − g·φ_i)(a·φ_i),    what m_W is to first order in the fluctuations of K_W,
    φ³ = Σ_i (h_i(x) − g·h_i)(a·h_i)/N_1,    the same of linear units,

with fixed a = A⁻¹y and g = A⁻¹k(x), A = K + T and k those of a reference K. Whatever the reference,
the mean is exactly zero: it decides how much noise is left, and no theory is needed for it. Here K
is the average of K_W over networks drawn from the prior.

With α = A_W⁻¹y, b_i = A_W⁻¹φ_i, g = A_W⁻¹k_W(x), u_i = α·φ_i, d_i = φ_i(x) − g·φ_i, and ∇ and Δ
those of unit i's weights, the second derivatives of m_W are those of Woodbury's formula,

    Δm = Σ_i u_i (Δφ_i(x) − g·Δφ_i) + d_i α·Δφ_i + 2 (1 − b_i·φ_i) ∇d_i·∇u_i
         − 2 u_i ∇d_i·(∇φ_i b_i) − 2 d_i ∇u_i·(∇φ_i b_i) − 2 d_i u_i tr(A_W⁻¹ ∇φ_iᵀ∇φ_i).

For each draw that is recorded it takes the products of a gradient of Φ, at the test inputs as well.
D outputs share the hidden weights, and with them Φ, K_W, A_W, b, g and d: each has its own y, hence
its own α, u and a, and is one of the functions above. What is shared is computed once.

With several hidden layers the generator of the last one's weights alone has the mean zero as well,
by the same formulas with the activations below in place of x. It made the error of bias² 1.2 times
smaller, not more (two layers of 30 to 100 erf units, P = 20 to 50, T = 0.1, 8 × 150 to 200 draws of
three seeds for each size): the weights below make more of the noise, and such networks are refused.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.errors import InputError
from langevin_nn.model.gaussian_readout import ReadoutRegression
from langevin_nn.model.kinks import kinks_of
from langevin_nn.model.networks.base import is_own_network
from langevin_nn.model.precision import full_precision
from langevin_nn.wide_layers import DenseLayer, InputLayer

NUM_CONTROLS = 3
"""The number of control variates at each test input."""


class ReferenceRegression(eqx.Module):
    """The a (P, *D) and g (P_test, P) of the functions that control variates are made from."""

    dual: Float[Array, " P *D"]
    regressors: Float[Array, "P_test P"]

    @classmethod
    def of(
        cls,
        features: Float[Array, "n P M"],
        at_test: Float[Array, "n P_test M"],
        targets: Float[Array, " P *D"],
        temperature: float,
    ) -> "ReferenceRegression":
        """Those of the average kernel of n networks, from their features."""
        train, test = np.asarray(features, np.float64), np.asarray(at_test, np.float64)
        kernel = np.einsum("npm,nqm->pq", train, train, optimize=True) / len(train)
        cross = np.einsum("npm,nqm->pq", test, train, optimize=True) / len(train)
        shifted = kernel + temperature * np.eye(len(kernel))
        columns = np.column_stack([np.asarray(targets, np.float64), cross.T])
        solved = np.linalg.solve(shifted, columns)
        duals, regressors = np.split(solved, [-len(test[0])], axis=1)
        dtype = features.dtype
        return cls(
            jnp.asarray(duals.reshape(targets.shape), dtype), jnp.asarray(regressors.T, dtype)
        )


def require_known(network: Any) -> None:
    """Raise `InputError` unless the second derivatives of m_W are known.

    They are for fully connected networks with one hidden layer and an activation whose slope has no
    jump.
    """
    reason, layers = "", getattr(network, "layers", None) or ()
    if is_own_network(network) or {*map(type, layers)} != {InputLayer, DenseLayer}:
        reason = f"a {type(network).__name__}"
    elif len(network.hidden_widths) != 1:
        reason = f"{len(network.hidden_widths)} hidden layers"
    elif kinks_of(network.activation):
        reason = f"{network.activation.name}, whose slope jumps"
    if reason:
        raise InputError(
            "control variates are known for fully connected networks with one hidden layer and a "
            f"smooth activation, got {reason}: write control_variates = false"
        )


class HiddenPreactivations(NamedTuple):
    """The hidden layer at some inputs: h, its change along q + ∇Φ, and the whitened inputs.

    `h` and `along` are (chains, Q, N). The whitened inputs are x/√(λ_0 N_0), with a column 1/√λ_b
    for biases, so that h is their product with the whitened weights of each unit: `inputs` (Q, r)
    in the span of the training inputs, and `norms` (Q,) their squares in the whole space.
    """

    h: Float[Array, "chains Q N"]
    along: Float[Array, "chains Q N"]
    inputs: Float[Array, "Q r"]
    norms: Float[Array, " Q"]


class _Features(NamedTuple):
    """φ, Δφ, the change of φ along q + ∇Φ, and σ' at some inputs, each (chains, Q, N).

    ∇φ_iμ is slopes_iμ x̃_μ.
    """

    values: Array
    laplacians: Array
    along: Array
    slopes: Array
    inputs: Array

    def projected(self, vectors: Float[Array, "chains N r"]) -> Float[Array, "chains Q N"]:
        """∇φ_i·V_i at each input."""
        return self.slopes * jnp.einsum("qr,cnr->cqn", self.inputs, vectors)


class _Sides(NamedTuple):
    """The features at the training and at the test inputs, and g (chains, P_test, P)."""

    train: _Features
    test: _Features
    regressors: Array

    def of_d(
        self, name: str, weights: Float[Array, "chains N *D"]
    ) -> Float[Array, "chains P_test *D"]:
        """Σ_i w_i (φ_i(x) − g·φ_i) of the values, Laplacians or changes of φ."""
        return self._less_g(
            lambda part: jnp.einsum("cqn,cn...->cq...", getattr(part, name), weights)
        )

    def against_d(
        self, weights: Float[Array, "chains N *D"], vectors: Float[Array, "chains N r"]
    ) -> Float[Array, "chains P_test *D"]:
        """Σ_i w_i ∇d_i·V_i."""
        return self._less_g(
            lambda part: jnp.einsum("cqn,cn...->cq...", part.projected(vectors), weights)
        )

    def between(
        self, weights: Float[Array, "chains N"], dual: Float[Array, "chains P *D"]
    ) -> Float[Array, "chains P_test *D"]:
        """Σ_i w_i ∇d_i·∇u_i; several outputs share the matrices Σ_i w_i ∇φ_i(x)·∇φ_iν."""
        if dual.ndim == 2:
            return self.against_d(weights, self.gradients(dual[..., None]))
        train = self.train

        def gathered(part: _Features) -> Array:
            products = (part.slopes * weights[:, None]) @ jnp.swapaxes(train.slopes, 1, 2)
            return (products * (part.inputs @ train.inputs.T)[None]) @ dual

        return self._less_g(gathered)

    def along_u(
        self, vectors: Float[Array, "chains N r"], dual: Float[Array, "chains P *D"]
    ) -> Float[Array, "chains N *D"]:
        """∇u_i·V_i of each unit."""
        if dual.ndim == 2:
            return jnp.sum(self.gradients(dual[..., None]) * vectors, axis=-1)
        return jnp.einsum("cpn,cpd->cnd", self.train.projected(vectors), dual)

    def of_u(self, name: str, dual: Float[Array, "chains P *D"]) -> Float[Array, "chains N *D"]:
        """Σ_μ a_μ φ_iμ of the values, Laplacians or changes of φ."""
        return jnp.einsum("cpn,cp...->cn...", getattr(self.train, name), dual)

    def gradients(self, weights: Float[Array, "chains P #N"]) -> Float[Array, "chains N r"]:
        """Σ_μ w_μi ∇φ_iμ of each unit."""
        return jnp.einsum("cpn,pr->cnr", self.train.slopes * weights, self.train.inputs)

    def _less_g(self, at: Callable[[_Features], Array]) -> Float[Array, "chains P_test *D"]:
        """What is at the test inputs, less g times what is at the training inputs."""
        at_train = at(self.train)
        return at(self.test) - jnp.einsum("cxp,cp...->cx...", self.regressors, at_train)


@full_precision
def control_variates(
    reference: ReferenceRegression,
    regression: ReadoutRegression,
    features_at_test: Float[Array, "chains P_test M"],
    function: Any,
    scale: Float[Array, ""],
    train: HiddenPreactivations,
    test: HiddenPreactivations,
) -> Float[Array, "chains 3 P_test *D"]:
    """Lφ¹, Lφ² and Lφ³ of each chain, for each test input and output.

    `scale` is 1/√(λ_1 N_1): the features are scale · σ(h), σ the `function`. `regression` is the
    read-out's posterior given the hidden weights, `features_at_test` its features at the test
    inputs; both may have a last column for the read-out's bias, which no hidden weight moves.
    """
    at_train, at_test = (_features(function, scale, layer) for layer in (train, test))
    num_chains, _, width = train.h.shape
    g = jnp.broadcast_to(reference.regressors, (num_chains, *reference.regressors.shape))
    a = jnp.broadcast_to(reference.dual, (num_chains, *reference.dual.shape))
    fixed = _Sides(at_train, at_test, g)
    first_order = _of_fixed(fixed, a) + 2 * fixed.between(jnp.ones_like(train.h[:, 0]), a)
    linear_units = _Sides(_linear(train), _linear(test), g)
    of_dual = train.inputs.T @ reference.dual
    same = test.inputs @ of_dual - reference.regressors @ (train.inputs @ of_dual)
    linear = _of_fixed(linear_units, a) / width + 2 * same[None]
    dual = regression.dual.reshape(a.shape)
    exact = _of_mean(regression, dual, features_at_test, at_train, at_test, width)
    return jnp.stack([exact, first_order, linear], axis=1)


def _of_mean(
    regression: ReadoutRegression,
    dual: Float[Array, "chains P *D"],
    features_at_test: Array,
    train: _Features,
    test: _Features,
    width: int,
) -> Float[Array, "chains P_test *D"]:
    """L of m_W itself; `dual` is the regression's, without an axis for D of one output."""
    features, inverse = regression.features, regression.inverse
    sides = _Sides(train, test, features_at_test @ jnp.swapaxes(features, 1, 2) @ inverse)

    u = sides.of_u("values", dual)
    solved = inverse @ train.values
    share = jnp.sum(solved * train.values, axis=1)
    overlaps = inverse * (train.inputs @ train.inputs.T)[None]
    traces = jnp.sum(train.slopes * (overlaps @ train.slopes), axis=1)
    of_solved = sides.gradients(solved)
    laplacian = sides.of_d("laplacians", u) + sides.of_d("values", sides.of_u("laplacians", dual))
    laplacian += 2 * sides.between(1 - share, dual) - 2 * sides.against_d(u, of_solved)
    traces = jnp.expand_dims(traces, tuple(range(2, u.ndim)))
    laplacian -= 2 * sides.of_d("values", u * traces + sides.along_u(of_solved, dual))
    beyond = ((0, 0), (0, 0), (0, features.shape[-1] - width))
    moved, moved_at_test = (jnp.pad(part.along, beyond) for part in (train, test))
    along = regression.means(moved_at_test) + features_at_test @ regression.weights_along(moved)
    return laplacian - along.reshape(laplacian.shape)


def _of_fixed(sides: _Sides, dual: Float[Array, "chains P *D"]) -> Float[Array, "chains P_test *D"]:
    """L of Σ_i u_i d_i at fixed a and g, less its 2 Σ_i ∇u_i·∇d_i."""
    u = sides.of_u("values", dual)
    moved = sides.of_u("laplacians", dual) - sides.of_u("along", dual)
    return sides.of_d("laplacians", u) - sides.of_d("along", u) + sides.of_d("values", moved)


def _features(function: Any, scale: Array, layer: HiddenPreactivations) -> _Features:
    ones = jnp.ones_like(layer.h)

    def value_and_slope(h: Array) -> tuple[Array, Array]:
        value, slope = jax.jvp(function, (h,), (ones,))
        return value, slope

    (values, slopes), (_, bends) = jax.jvp(value_and_slope, (layer.h,), (ones,))
    return _Features(
        scale * values, scale * bends * layer.norms[None, :, None], scale * slopes * layer.along,
        scale * slopes, layer.inputs,
    )  # fmt: skip


def _linear(layer: HiddenPreactivations) -> _Features:
    """The features h themselves."""
    zeros = jnp.zeros_like(layer.h)
    return _Features(layer.h, zeros, layer.along, zeros, layer.inputs)
