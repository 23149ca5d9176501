"""The gain of averaging: errors of one draw, of one chain's mean, of the mean of all chains.

With draws f_cs(x) of chains c = 1 … C (s = 1 … S), f̄_c the mean of one chain and f̄ that of all, and
⟨·⟩_x the average over the test set,

    norm      mean_cs ⟨f_cs²⟩_x                 draw      mean_cs of the fraction wrong by f_cs
    total     ⟨Var_cs f_cs⟩_x                   chain     mean_c of the fraction wrong by f̄_c
    between   ⟨Var_c f̄_c⟩_x                     ensemble  the fraction wrong by f̄

Chains of one stationary law differ by what is left of their fluctuations alone: `between` is
total × τ/S with the autocorrelation time τ, 1 for independent draws, so that a chain's mean tends
to the ensemble's as S grows. Chains that stay where they fell keep a `between` of their own.
Networks that gradient flow trained are chains of one draw each. The ensemble removes the peak of
the error at jamming (Geiger et al., arXiv:1901.01608); the mean of one chain has the share
(draw − chain)/(draw − ensemble) of its gain.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from langevin_nn.analysis.resampling import jackknife
from langevin_nn.data.dataset import as_numbers
from langevin_nn.data.labels import is_right
from langevin_nn.types import Estimate, InputError
from langevin_nn.values import require_count, require_number

__all__ = ["Averaging", "averaging"]


@dataclass(frozen=True)
class Averaging:
    """Norm, errors (fractions of the test points) and variances; made by `averaging`."""

    norm: Estimate
    draw: Estimate
    chain: Estimate
    ensemble: Estimate
    total: Estimate
    between: Estimate


def averaging(
    outputs: Float[np.ndarray, "..."],
    y_test: Float[np.ndarray, "..."],
    *,
    length: int | None = None,
    midpoint: float = 0.0,
) -> Averaging:
    """Errors and variances of single draws of f, of each chain's mean and of the mean of all.

    Args:
        outputs: draws of f at the test inputs, (chain, draw, P_test), `Chains.f`; or of a `Flow`
            `flow.test_outputs[:, None]`. Not `Chains.test_outputs`, which with the read-out
            marginalised are means of f given the hidden weights, and vary less than f.
        y_test: (P_test,), targets of two classes, on either side of the midpoint.
        length: the number t of draws of a window; all numbers are then averages over the S/t
            windows, as if the chains had been so short. All draws, if left out.
        midpoint: a point is right where f and y are on the same side of it; f = midpoint is wrong
            (`langevin_nn.data.labels.is_right`).

    Standard errors are the jackknife's over the chains, which are taken to be independent.

    Raises `InputError` for fewer than three chains, for a length or shapes that do not fit, and for
    several outputs.

    >>> rng = np.random.default_rng(0)
    >>> y = np.where(np.arange(500) % 2, 1.0, -1.0)
    >>> f = y + 2 * rng.standard_normal((8, 16, 500))  # independent: one chain is worth 16 draws
    >>> found = averaging(f, y)
    >>> print(f"{found.draw.value:.2f} {found.chain.value:.2f} {found.ensemble.value:.2f}")
    0.31 0.03 0.00
    >>> print(f"{found.between.value:.2f} {averaging(f, y, length=4).between.value:.2f}")
    0.25 1.00
    """
    outputs, y_test = as_numbers("outputs", outputs), as_numbers("y_test", y_test)
    if outputs.ndim != 3 or y_test.shape != outputs.shape[2:]:
        raise InputError(
            "averaging takes f of one output (chain, draw, P_test) and targets (P_test,), got "
            f"shapes {outputs.shape} and {np.shape(y_test)}: write outputs[:, None] for draws "
            "without an axis of their own, and one output at a time"
        )
    num_chains, num_draws = outputs.shape[:2]
    if num_chains < 3:
        raise InputError(
            f"a variance between chains needs three of them at least, got {num_chains}: write a "
            "larger num_chains"
        )
    length = num_draws if length is None else require_count("length", length)
    midpoint = require_number("midpoint", midpoint)
    if not 1 <= length <= num_draws:
        raise InputError(
            f"length = {length} draws do not fit into chains of {num_draws}: write 1 to {num_draws}"
        )
    starts = range(0, num_draws - length + 1, length)
    windows = np.stack([outputs[:, start : start + length] for start in starts])
    f, y = windows - midpoint, y_test - midpoint

    def is_wrong(values: np.ndarray) -> np.ndarray:
        return ~is_right(values, y, 0.0)

    # Averages over windows, one of each chain: the jackknife leaves chains out of these.
    mean = f.mean(axis=2)
    by_chain = {
        "norm": np.square(windows).mean(axis=(0, 2, 3)),
        "draw": np.mean(is_wrong(f), axis=(0, 2, 3)),
        "chain": np.mean(is_wrong(mean), axis=(0, 2)),
    }
    squares = np.square(f).mean(axis=2)

    def numbers(chosen: np.ndarray) -> dict[str, float]:
        chain_means = mean[:, chosen]
        centre = chain_means.mean(axis=1)
        return {
            **{name: float(values[chosen].mean()) for name, values in by_chain.items()},
            "ensemble": float(is_wrong(centre).mean()),
            "total": float((squares[:, chosen].mean(axis=1) - np.square(centre)).mean()),
            "between": float(chain_means.var(axis=1, ddof=1).mean()),
        }

    return Averaging(**jackknife(numbers, num_chains))
