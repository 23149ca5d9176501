"""Standard errors of estimates from independent draws: of their mean, and by the jackknife."""

from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float, Int

from langevin_nn.types import Estimate

__all__ = ["independent_mean", "jackknife"]


def independent_mean(values: Float[np.ndarray, " n"]) -> Estimate:
    """The mean of independent values, with its standard error.

    v̄ = Σ_i v_i / n and √(Σ_i (v_i − v̄)² / (n (n − 1))).

    >>> independent_mean(np.array([1.0, 2.0, 6.0]))
    3.0(15)
    """
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))


def jackknife(
    numbers: Callable[[Int[np.ndarray, " m"]], Mapping[str, float]], number: int
) -> dict[str, Estimate]:
    """Numbers that are computed from n independent draws, with the jackknife's standard errors.

    `numbers(chosen)` computes them from the draws of these indices. The value θ is that of all
    draws, the error √((n − 1)/n Σ_i (θ_i − θ̄)²), where θ_i leaves out draw i and θ̄ is the mean of
    the θ_i. For a mean it is the usual standard error of a mean. B. Efron and C. Stein, Ann. Stat.
    9, 586 (1981).

    >>> values = np.array([1.0, 2.0, 6.0])
    >>> found = jackknife(lambda chosen: {"mean": float(values[chosen].mean())}, 3)
    >>> found["mean"].value, round(found["mean"].mcse, 6)
    (3.0, 1.527525)
    """
    draws = np.arange(number)
    estimates = numbers(draws)
    leave_one_out = [numbers(np.delete(draws, draw)) for draw in draws]
    factor = np.sqrt(number - 1)
    return {
        name: Estimate(value, float(factor * np.std([values[name] for values in leave_one_out])))
        for name, value in estimates.items()
    }
