"""Less noise in f̄ by control variates: functions of the weights whose posterior mean is zero.

With control variates c_k(x) beside the draws m(x) that f̄ is an average of,

    f̄(x) = mean of m(x) − Σ_k b_k(x) c_k(x)

has the same expectation for any b, and the least variance for those of a linear regression of m on
c, for each test input and output. Each chain has the b that the other chains give: b and c are then
independent, so that nothing is biased and the residuals are as large as they look. Where what is
left is not less, the draws stay as they are; and where the controls do not average to zero within
`MOST_ERRORS` standard errors, as of chains that are not in equilibrium, they are no control
variates and are not used.
"""

import numpy as np
from jaxtyping import Float

from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.sampling.draws import Chains

MOST_ERRORS = 6.0
"""The standard errors by which the mean of a control variate may differ from zero."""
DRAWS_PER_COEFFICIENT = 10
"""The least number of draws of the other chains for each coefficient."""
_SMALLEST_RATIO = 1e-10
"""The square of a singular value of the controls, over that of the largest, that is rounding."""

Outputs = Float[np.ndarray, "chain draw P_test_D"]


def less_noisy(
    outputs: Outputs, controls: Float[np.ndarray, "chain draw K P_test_D"], y: np.ndarray
) -> tuple[Outputs, dict[str, float] | None]:
    """Draws whose averages are f̄ with less noise, and the factors by which variances are smaller.

    `outputs` are m(x) in any units, `controls` the c_k(x) of the same draws (`controls_of`) and `y`
    (P_test·D,) the targets of the test inputs, each output of each of them a point. The factors are
    those of the variance of the Monte-Carlo error of bias² ("bias2") and, at the median point, of f̄
    ("predictions"). Where there is nothing gained the outputs are returned as they are, with None.
    """
    num_chains, num_draws, num_controls, _ = controls.shape
    too_few = (num_chains - 1) * num_draws < DRAWS_PER_COEFFICIENT * num_controls
    if num_chains < 2 or too_few or not np.isfinite(controls).all():
        return outputs, None
    residual = y - outputs.mean(axis=(0, 1))
    along = controls @ residual
    errors = mcse(along)
    if np.any(np.abs(along.mean(axis=(0, 1))) > MOST_ERRORS * errors):
        return outputs, None
    reduced = outputs - _fitted(outputs, controls)
    error, reduced_error = (float(mcse(draws @ residual)) for draws in (outputs, reduced))
    if not reduced_error < error:
        return outputs, None
    of_predictions, of_reduced = mcse(outputs), mcse(reduced)
    ratios = of_predictions[of_reduced > 0] / of_reduced[of_reduced > 0]
    return reduced, {
        "bias2": (error / reduced_error) ** 2,
        "predictions": float(np.median(ratios**2)) if len(ratios) else 1.0,
    }


def controls_of(chains: Chains) -> Float[np.ndarray, "chain draw K P_test_D"] | None:
    """The control variates of chains that have not diverged, float64; None without any."""
    if chains.control_variates is None:
        return None
    controls = chains.control_variates[~chains.diverged].astype(np.float64)
    return controls.reshape(*controls.shape[:3], -1)


def averaged_outputs(chains: Chains) -> Float[np.ndarray, "chain draw P_test_D"]:
    """The draws that f̄ is the average of, of chains that have not diverged: float64."""
    keep = ~chains.diverged
    outputs = chains.test_outputs[keep].astype(np.float64)
    outputs = outputs.reshape(*outputs.shape[:2], -1)
    controls = controls_of(chains)
    if controls is None:
        return outputs
    return less_noisy(outputs, controls, chains.y_test.ravel())[0]


def _fitted(outputs: Outputs, controls: np.ndarray) -> Outputs:
    """Σ_k b_k c_k of each draw, with the b of a regression on the other chains."""
    by_point = np.moveaxis(controls, 3, 0)  # (P_test·D, chain, draw, K)
    size = np.sqrt(np.square(by_point).mean(axis=(1, 2)))
    by_point = by_point / np.where(size > 0, size, 1.0)[:, None, None, :]
    values = np.moveaxis(outputs, 2, 0)
    fitted = np.empty_like(values)
    for chain in range(len(outputs)):
        others = np.arange(len(outputs)) != chain
        c = by_point[:, others].reshape(len(values), -1, by_point.shape[-1])
        m = values[:, others].reshape(len(values), -1)
        c_centred = c - c.mean(axis=1, keepdims=True)
        m_centred = m - m.mean(axis=1, keepdims=True)
        products = np.einsum("xni,xnj->xij", c_centred, c_centred)
        inverse = np.linalg.pinv(products, rcond=_SMALLEST_RATIO, hermitian=True)
        b = np.einsum("xij,xnj,xn->xi", inverse, c_centred, m_centred, optimize=True)
        fitted[:, chain] = np.einsum("xi,xni->xn", b, by_point[:, chain])
    return np.moveaxis(fitted, 0, 2)
