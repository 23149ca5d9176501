"""The coefficients of 1/N_1 in the posterior of one hidden layer: averages over single units.

The read-out, and its bias, are Gaussian integrals. Given the hidden weights, f is a Gaussian
process whose Gram matrix is K + δK, δK = (1/N_1) Σ_i φ_i φ_iᵀ − K, where φ (P,) and φ_x are one
unit's σ(h)/√λ_1 at the training inputs and at x. The posterior of the weights is their prior times
exp(−Φ), Φ = ½ Σ_d [log det A + y_dᵀA⁻¹y_d] over the D outputs, A = T I + K + δK + V Vᵀ with V the
read-out's bias. Let E_w average over one unit's prior and, for each output, at δK = 0,

    g = (k + V_x Vᵀ) A⁻¹,   E = k − g K = E_w[d φᵀ],   a_d = A⁻¹y_d,
    d = φ_x − g φ,   u_d = a_dᵀφ,   q = φᵀA⁻¹φ.

Expanded in δK to second order, with E[δK] = 0 and E[δK δK] = (1/N_1) (E_w[φφᵀ φφᵀ] − K K),

    m₁ = d u − E a,   s₁ = d² − E_w[d²],   Φ₁ = (D/2)(q − tr A⁻¹K) − ½ Σ_d (u_d² − a_dᵀK a_d)
    mean      m₀ + (1/N_1) E_w[−d q u + E A⁻¹K a − m₁Φ₁] + O(1/N_1²)
    variance  s₀ + (1/N_1) E_w[−d² q + diag(E A⁻¹Eᵀ) − s₁Φ₁ + m₁²] + O(1/N_1²)
    log Z     log Z₀ + (1/N_1) [¼ D (E_w[q²] − tr (A⁻¹K)²)
                  − ½ Σ_d (E_w[u_d² q] − a_dᵀK A⁻¹K a_d) + ½ E_w[Φ₁²]] + O(1/N_1²)

where m₀, s₀, log Z₀ are those of infinite width. For Gaussian φ, Wick's theorem gives the
coefficients of a fluctuating scale alone, δK = x K with Var x = 2/N_1: with m' = E a, s' = E_w[d²],
Φ' = ½ (tr A⁻¹K − aᵀK a) and one output,

    mean      2 [−E A⁻¹K a − m'Φ'],        variance   2 [−diag(E A⁻¹Eᵀ) − s'Φ' + m'²],
    log Z     2 [¼ tr (A⁻¹K)² − ½ aᵀK A⁻¹K a + ½ Φ'²].

E_w is an average over random units. What is known exactly is not sampled: with δq = q − tr A⁻¹K,
E_w[d q u] = E_w[m₁ δq] + E a tr A⁻¹K, and so on. This order for deep networks, in another form:
Yaida 2020, arXiv:1910.00019.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from langevin_nn.footprint import KEPT_UNIT_BYTES
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.ensemble import same_units
from langevin_nn.theory.kernels.nngp import fields
from langevin_nn.theory.regression.eigenbasis import Regression
from langevin_nn.types import Activation, InputError
from langevin_nn.values import as_whole, shown

__all__ = [
    "FEWEST_UNITS",
    "SEED",
    "Terms",
    "pull_of_targets",
    "width_terms",
    "with_training_points",
]

FEWEST_UNITS = 64
"""The smallest number of units, and of the batches that the standard errors come from."""
SEED = 20_220_904
"""The seed of the units' weights: the same call gives the same numbers."""

_NUMBERS_AT_ONCE = 2**22  # units × points of one batch: 32 MiB in each of a few arrays


class Terms(NamedTuple):
    """Coefficients of 1/N_1 at n points, test points first, for D outputs; batches may lead.

    Made by `width_terms`.
    """

    mean: Float[np.ndarray, "*batches n D"]
    variance: Float[np.ndarray, "*batches n D"]
    log_evidence: Float[np.ndarray, "*batches"]


def with_training_points(regression: Regression) -> Regression:
    """The regression with its training points after the test points, so that both are predicted.

    >>> regression = decompose(GramBlocks(np.eye(2), np.zeros((1, 2)), np.ones(1)), np.ones(2))
    >>> with_training_points(regression).mean(temperature=1.0)
    array([0. , 0.5, 0.5])
    """
    signal = regression.eigenvectors * regression.eigenvalues
    columns = regression.eigenvectors @ regression.projected_columns
    diagonal = np.sum(signal * regression.eigenvectors, axis=1)
    return replace(
        regression,
        beyond=None,  # what is made of the Gram matrix itself has its rounding
        projected_cross=np.concatenate([regression.projected_cross, signal]),
        test_diagonal=np.concatenate([regression.test_diagonal, diagonal]),
        test_columns=np.concatenate([regression.test_columns, columns]),
    )


def width_terms(
    ensemble: Ensemble,
    everywhere: Regression,
    scale: float,
    num_units: int,
    beyond_scale: bool = False,
) -> Terms:
    """The coefficients of 1/N_1 from each of at least 64 batches of units, at all points.

    Args:
        ensemble: of one hidden layer, fully connected.
        everywhere: `with_training_points` of its decomposed Gram matrix.
        scale: Q; the coefficients are those with Q K for K and √Q φ for φ.
        num_units: in all batches together; rounded up to fill them.
        beyond_scale: subtract the coefficients of δK = x K; one output.

    Raises:
        InputError: fewer than 64 units.

    Linear units with K = I at T = 0: log Z gains 2 [¼ P − ½ |y|² + ⅛ (P − |y|²)²]/N_1, −2/N_1 here

    >>> from langevin_nn.theory.ensemble import gram_regression
    >>> data = two_points(2.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.0)
    >>> ensemble = Ensemble(spec, data)
    >>> everywhere = with_training_points(gram_regression(ensemble))
    >>> found = width_terms(ensemble, everywhere, 1.0, num_units=64_000).log_evidence
    >>> bool(abs(found.mean() + 2) < 5 * found.std() / np.sqrt(found.size) < 1)
    True
    """
    if (as_whole(num_units) or 0) < FEWEST_UNITS:
        raise InputError(f"num_units must be {FEWEST_UNITS} or more, got {shown(num_units)}")
    spec = ensemble.spec
    known, exact = _exact_part(everywhere, spec.temperature, scale, beyond_scale)
    amplitude = np.sqrt(scale / spec.prior_precisions[1])
    known = jax.tree.map(jnp.asarray, known)  # once, not for each batch that waits for its turn
    sampled = [
        _sampled_part(features, known, amplitude) for features in _batches(ensemble, num_units)
    ]
    terms = zip(exact, zip(*sampled, strict=True), strict=True)
    return Terms(*(fixed + np.stack(batches) for fixed, batches in terms))


def pull_of_targets(everywhere: Regression, temperature: float, scale: float) -> float:
    """E_w[u²] = aᵀK a, a = A⁻¹y, with Q K for K; its largest eigenvalue where there are D outputs.

    By the targets a unit has the weight exp(u²/(2 N_1)), of which an expansion has the first order.
    The variance of a Gaussian u grows by the factor 1/(1 − E u²/N_1), whose series converges below
    E u²/N_1 = 1. With Q* K of `one_layer` the factor, of the variance under K among all others, is
    1 + E u²/N_1. Targets of order √N_1, or a richness of order one, make both no small change.

    >>> from langevin_nn.theory.ensemble import gram_regression
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> everywhere = with_training_points(gram_regression(Ensemble(spec, two_points(2.0, 4.0))))
    >>> round(pull_of_targets(everywhere, 1.0, 1.0), 9)  # |y|²/(1 + T)²
    5.0
    """
    root = _inverse_root(everywhere, temperature, scale)
    targets = (everywhere.eigenvectors @ everywhere.projected_targets).reshape(root.shape[1], -1)
    solved = everywhere.eigenvectors.T @ (root.T @ (root @ targets))
    signal = np.where(everywhere.in_range, scale * everywhere.eigenvalues, 0.0)
    return float(np.linalg.eigvalsh(solved.T @ (signal[:, None] * solved))[-1])


class _Known(NamedTuple):
    """What is known without sampling: A, and expectations over one unit."""

    root: Float[np.ndarray, "P P"]  # B of A⁻¹ = BᵀB
    gain: Float[np.ndarray, "n P"]  # g
    solved: Float[np.ndarray, "P D"]  # a; all three on the range of K, where φ lies
    trace: np.float64  # E q = tr A⁻¹K
    powers: Float[np.ndarray, " D"]  # E u² = aᵀK a
    means: Float[np.ndarray, "n D"]  # E d u = E a
    squares: Float[np.ndarray, "n 1"]  # E d²


def _exact_part(
    everywhere: Regression, temperature: float, scale: float, beyond_scale: bool
) -> tuple[_Known, Terms]:
    """What is known without sampling, and what it alone makes of the coefficients of 1/N_1."""
    vectors, columns = everywhere.eigenvectors, everywhere.test_columns
    identity = np.eye(len(vectors))
    train = slice(-len(vectors), None)
    features = scale * everywhere.projected_cross @ vectors.T  # k, and K at the training points
    gram, covariances = features[train], features + columns @ columns[train].T
    root = _inverse_root(everywhere, temperature, scale)

    def solve(b: np.ndarray) -> np.ndarray:
        return root.T @ (root @ b)

    solved = solve(vectors @ everywhere.projected_targets).reshape(len(vectors), -1)
    smoothed = solve(gram)  # A⁻¹K
    gain = solve(covariances.T).T
    gain[train] = identity - temperature * solve(identity)
    errors = features - gain @ gram  # E
    errors[train] = temperature * smoothed
    diagonal = scale * everywhere.test_diagonal
    powers, means = np.sum(solved * (gram @ solved), axis=0), errors @ solved
    squares = (diagonal - np.sum(gain * (features + errors), axis=1))[:, None]
    if everywhere.is_singular and not everywhere.is_separable:
        range_basis = vectors[:, everywhere.in_range]
        root, gain, solved = (
            root @ range_basis @ range_basis.T,
            gain @ range_basis @ range_basis.T,
            range_basis @ (range_basis.T @ solved),
        )
    known = _Known(root, gain, solved, np.trace(smoothed), powers, means, squares)
    bent = errors @ (smoothed @ solved)  # E A⁻¹K a
    spread = np.sum(errors * solve(errors.T).T, axis=1)[:, None]  # diag(E A⁻¹Eᵀ)
    roughness = np.sum(smoothed * smoothed.T)  # tr (A⁻¹K)²
    misfit = np.sum((gram @ solved) * (smoothed @ solved))  # Σ aᵀK A⁻¹K a
    trace, power, num_outputs = known.trace, np.sum(powers), solved.shape[1]
    evidence = num_outputs / 4 * (trace**2 - roughness) - (trace * power - misfit) / 2
    terms = Terms(bent - trace * means, spread - trace * squares, evidence)
    if not beyond_scale:
        return known, terms
    slope = (trace - power) / 2  # Φ'
    return known, Terms(
        mean=terms.mean + 2 * (bent + means * slope),
        variance=terms.variance + 2 * (spread + squares * slope - means**2),
        log_evidence=terms.log_evidence - (roughness / 2 - misfit + slope**2),
    )


def _inverse_root(
    everywhere: Regression, temperature: float, scale: float
) -> Float[np.ndarray, "P P"]:
    """B of A⁻¹ = BᵀB: R = (T + Q e)^(−½) Uᵀ for A − V Vᵀ, and B = L⁻¹R, L Lᵀ = 1 + R V VᵀRᵀ.

    It is that of the part of A⁻¹ on the range of K where V vanishes beside this range.
    """
    spectrum = temperature + scale * everywhere.eigenvalues
    seen = everywhere.in_range | (not everywhere.is_separable)
    roots = np.divide(1.0, np.sqrt(spectrum), out=np.zeros_like(spectrum), where=seen)
    columns = roots[:, None] * everywhere.projected_columns
    core = scipy.linalg.cholesky(np.eye(roots.size) + columns @ columns.T, lower=True)
    return scipy.linalg.solve_triangular(core, (roots * everywhere.eigenvectors).T, lower=True)


def _batches(ensemble: Ensemble, num_units: int) -> Iterable[Float[Array, "units n"]]:
    """σ(h) of each batch of units at all points, kept if they are small.

    Then theories and ensembles that have their hidden units in common make them once.
    """
    data = ensemble.data
    if 8.0 * num_units * (data.num_train + data.num_test) > KEPT_UNIT_BYTES:
        return _drawn(ensemble, num_units)
    return same_units(ensemble).once(_Drawn(num_units))


@dataclass(frozen=True)
class _Drawn:
    """The features of so many units, as `Ensemble.once` keeps them."""

    num_units: int

    def __call__(self, ensemble: Ensemble) -> list[Float[Array, "units n"]]:
        return list(_drawn(ensemble, self.num_units))


def _drawn(ensemble: Ensemble, num_units: int) -> Iterator[Float[Array, "units n"]]:
    """σ(h) of random units at all points, in at least 64 batches."""
    inputs, activation = _hidden_inputs(ensemble), ensemble.spec.activation
    assert activation is not None, "one hidden layer has one"
    num_batches = max(FEWEST_UNITS, -(-num_units * len(inputs) // _NUMBERS_AT_ONCE))
    shape = (-(-num_units // num_batches), inputs.shape[1])
    rng = np.random.default_rng(SEED)
    for _ in range(num_batches):
        yield _features(rng.standard_normal(shape), inputs, activation)


@partial(jax.jit, static_argnames=("activation",))
def _features(
    z: Float[Array, "units r"], inputs: Float[Array, "n r"], activation: Activation
) -> Float[Array, "units n"]:
    return activation(z @ inputs.T)


def _hidden_inputs(ensemble: Ensemble) -> Float[np.ndarray, "n r"]:
    """R with h = R z, z ~ N(0, I), at all points: one unit's preactivations, r ≤ n."""
    spec, data = ensemble.spec, ensemble.data
    x = np.concatenate([fields(spec, data.x_test)[0], fields(spec, data.x_train)[0]])
    inputs = x / np.sqrt(spec.prior_precisions[0] * spec.in_size)
    if spec.bias_precisions is not None:
        bias = np.full((len(x), 1), 1 / np.sqrt(spec.bias_precisions[0]))
        inputs = np.concatenate([inputs, bias], axis=1)
    return inputs if inputs.shape[1] <= len(x) else np.asarray(np.linalg.qr(inputs.T, mode="r")).T


@jax.jit
def _sampled_part(
    features: Float[Array, "units n"], known: _Known, amplitude: Float[Array, ""]
) -> tuple[Float[Array, "n D"], Float[Array, "n D"], Float[Array, ""]]:
    """E[m₁ψ], E[s₁ψ + m₁²] with ψ = −δq − Φ₁, and E[¼Dδq² − ½δu²δq + ½Φ₁²], over `units`."""
    num_units, (num_train, num_outputs) = len(features), known.solved.shape
    phi = amplitude * features
    train = phi[:, -num_train:]
    d, u = phi - train @ known.gain.T, train @ known.solved
    delta_q = jnp.sum((train @ known.root.T) ** 2, axis=1) - known.trace
    delta_u = jnp.sum(u**2 - known.powers[None, :], axis=1)
    phi_1 = (num_outputs * delta_q - delta_u) / 2
    psi = -delta_q - phi_1
    du = d.T @ jnp.concatenate([u * psi[:, None], u], axis=1) / num_units
    dd = (d**2).T @ jnp.concatenate([psi[:, None], u**2], axis=1) / num_units
    mean = du[:, :num_outputs] - known.means * jnp.mean(psi)
    variance = dd[:, :1] - known.squares * jnp.mean(psi) + dd[:, 1:]
    variance += known.means**2 - 2 * known.means * du[:, num_outputs:]
    evidence = num_outputs / 4 * delta_q**2 - delta_u * delta_q / 2 + phi_1**2 / 2
    return mean, variance, jnp.mean(evidence)
