"""The log evidence log p(y | X) of a theory, and its derivatives in the precisions and in T.

−log p(y | X) is the free energy, in units where β multiplies nothing. Each theory is a Gaussian
process, or an average of some, with A = T I + K_R(λ; Q) + (read-out bias), and its order parameters
make S stationary. So a derivative is taken at fixed Q (or Q's posterior weights):

    log N(y; 0, A) = −½ (yᵀA⁻¹y + log det A + P log 2π),
    ∂ log p = Tr Γ ∂A,   Γ = ½ ⟨a aᵀ − A⁻¹⟩,   a = A⁻¹y

(Rasmussen and Williams 2006, eqs. 2.30 and 5.9, at fixed Q). ∂K_R/∂λ comes by automatic
differentiation (forward mode) through the Gram matrix; exactly where the Gaussian dual is exact.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.base import Function, Solution, Theory
from langevin_nn.theory.covariance import Arrays, Kernel, Lambdas, precisions_of
from langevin_nn.theory.suite import theory_of
from langevin_nn.types import InputError, NotApplicable

__all__ = ["Evidence", "evidence", "evidence_gradient"]


@dataclass(frozen=True)
class Evidence:
    """log p(y | X) and its derivatives in λ_0 … λ_L, in the biases' precisions, and in T.

    Made by `evidence`. The gradients in the precisions are tuples of L + 1 numbers; that of the
    biases is None without biases.
    """

    log_evidence: float
    precision_gradient: tuple[float, ...]
    bias_precision_gradient: tuple[float, ...] | None
    temperature_gradient: float


def evidence(ensemble: Ensemble, theory: str | Theory | Function = "one_layer") -> Evidence:
    """The log evidence of a theory with its derivatives: a function to maximise over λ and T.

    log p = −½ (S(Q*) + P log 2π), or log ∫ p(Q) N(y; 0, A_Q) dQ for `scale_mixture`, and
    ∂ log p = Tr Γ ∂A with Γ = ½ (A⁻¹y yᵀA⁻¹ − A⁻¹), A = T I + K_R (P, P), y (P,) (Rasmussen and
    Williams 2006, eqs. 2.30 and 5.9).

    Args:
        ensemble: with λ, T and the training examples.
        theory: its name, a `Theory`, or a function of an ensemble.

    Raises:
        InputError: an unknown theory; what the theory itself raises; derivatives beyond float64.
        NotApplicable: the theory does not describe the network; its `Solution` has no covariance
            (`width_expansion`, `matched`, theories of learned features, and functions of one's own
            that give numbers alone);
            T = 0 with a singular Gram matrix, where the log evidence has no limit.

    With f = w, y = 1, λ = 1: log N(1; 0, T + 1), whose derivative in T vanishes at T + 1 = y².

    >>> data = two_points(1.0, -1.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(1.0,), temperature=0.5)  # K = 1/2
    >>> found = evidence(Ensemble(linear, data), "infinite_width")
    >>> print(f"{found.log_evidence:.6f} {-1 - np.log(2 * np.pi):.6f}")
    -2.837877 -2.837877
    >>> print(f"{abs(found.temperature_gradient):.6f} {abs(found.precision_gradient[0]):.6f}")
    0.000000 0.000000
    """
    return evidence_gradient(ensemble, theory_of(theory).solve(ensemble))


def evidence_gradient(ensemble: Ensemble, solution: Solution) -> Evidence:
    """The log evidence of a theory's solution for this ensemble, with its derivatives.

    With A = 2 I and y = (1, 0), Γ = −diag(1, 2)/8, and ∂K/∂λ_0 = −2 I:

    >>> from langevin_nn.theory.effective.infinite_width import THEORY
    >>> data = two_points(1.0, 0.0)
    >>> linear = EnsembleSpec(2, (), None, prior_precisions=(0.5,), temperature=1.0)  # K = I
    >>> ensemble = Ensemble(linear, data)
    >>> found = evidence_gradient(ensemble, THEORY.solve(ensemble))
    >>> print(f"{found.temperature_gradient:.6f} {found.precision_gradient[0]:.6f}")
    -0.375000 0.750000
    """
    spec, result = ensemble.spec, solution.generalisation
    if (covariance := solution.required_covariance()) is None:
        raise NotApplicable(
            f"the solution of {result.name} has no Gram matrix that it ends in, so that the "
            "derivatives of its log evidence are not known: name a saddle-point theory, "
            "infinite_width or scale_mixture"
        )
    kernel, arrays, (scaled, whole, trace) = covariance
    by_precision, by_bias = _gradient(precisions_of(spec), arrays, scaled, np.sum(whole), kernel)
    slopes = [*by_precision, *(() if by_bias is None else by_bias), trace]
    if not np.all(np.isfinite(np.array(slopes, np.float64))):
        raise InputError(
            "the derivatives of the log evidence are beyond float64: give prior precisions nearer "
            f"to 1 than {', '.join(f'{precision:.3g}' for precision in spec.prior_precisions)}"
        )
    return Evidence(
        log_evidence=np.nan if result.log_evidence is None else result.log_evidence,
        precision_gradient=tuple(map(float, by_precision)),
        bias_precision_gradient=None if by_bias is None else tuple(map(float, by_bias)),
        temperature_gradient=trace,
    )


@partial(jax.jit, static_argnames=("kernel",))
def _gradient(
    prior_precisions: Lambdas,
    arrays: Arrays,
    scaled: Float[Array, "P P"],
    whole: Float[Array, ""],
    kernel: Kernel,
) -> Lambdas:
    """The derivatives of Σ Γ K, and of Σ Γ times the variance of the read-out's bias."""

    def objective(prior_precisions: Lambdas) -> Float[Array, ""]:
        total = jnp.sum(scaled * kernel(prior_precisions, arrays))
        return total if prior_precisions[1] is None else total + whole / prior_precisions[1][-1]

    return jax.jacfwd(objective)(prior_precisions)
