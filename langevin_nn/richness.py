"""The richness γ: from the standard scaling, whose wide networks are lazy, to the mean-field one.

With N_L the width of the last hidden layer, φ its features and ℓ the loss, ½(y − f)² say,

    f(x) = w·φ(x)/(N_L γ),  w_i ~ N(0, 1/λ_L),  p(θ | data) ∝ p(θ) exp(−(N_L γ²/T) Σ_μ ℓ_μ(f(x_μ)))

is the mean-field scaling (Lauditi, Bordelon, Pehlevan 2025, arXiv:2502.07998; γ is their γ_0).
In v = w/(γ√N_L) the output is the package's f = v·φ/√N_L, and the posterior that of

    λ_L N_L γ²  in place of λ_L,      T/(N_L γ²)  in place of T,

on the original targets. At γ = 1/√N_L nothing changes; γ of order one is rich. All of the
read-out's part of f is smaller by γ√N_L, so that the precision of its bias, λ_bL, changes as λ_L
does. With the squared loss γ√N_L f is the output of a network of the standard scaling with λ_L and
T as they are, and with the targets γ√N_L y. The channels of a convolutional layer are its units:
N_L is their number, whatever the number of patches that the read-out sums over too.
"""

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

from langevin_nn.errors import InputError
from langevin_nn.values import require_positive

__all__ = ["Scaled", "precision_factor", "scaled"]

ROUNDING = 4 * sys.float_info.epsilon
"""How far N_L γ² is from 1 by the rounding of γ = 1/√N_L at most."""


class Scaled(NamedTuple):
    """The numbers of the standard scaling that are those of a richness; made by `scaled`.

    `precisions` are those of the weights of each layer, `bias_precisions` those of the biases, None
    for a network without them, and `temperature` is T: what the Gibbs measure has. `factor` is
    N_L γ².
    """

    precisions: tuple[float, ...]
    bias_precisions: tuple[float, ...] | None
    temperature: float
    factor: float


def precision_factor(richness: float, width: int) -> float:
    """N_L γ², by which the read-out's precisions grow and the temperature falls.

    >>> precision_factor(0.5, 200), precision_factor(200**-0.5, 200)
    (50.0, 1.0)
    """
    factor = width * require_positive("richness", richness) ** 2
    return 1.0 if abs(factor - 1) <= ROUNDING else factor


def scaled(
    richness: float,
    hidden_widths: Sequence[int],
    precisions: tuple[float, ...],
    bias_precisions: tuple[float, ...] | None,
    temperature: float,
) -> Scaled:
    """The numbers of the standard scaling that are these at a richness; the read-out's are last.

    Raises `InputError` for a richness that is not positive, or makes of them what float64 has not,
    and without a hidden layer.

    >>> scaled(0.5, (200,), (1.0, 2.0), None, 0.1)
    Scaled(precisions=(1.0, 100.0), bias_precisions=None, temperature=0.002, factor=50.0)
    """
    require_positive("richness", richness)
    if not hidden_widths:
        raise InputError(
            f"richness = {richness:g} is that of the last hidden layer, and there is none: write "
            "hidden_widths = [200], or leave it out"
        )
    width = hidden_widths[-1]
    factor = precision_factor(richness, width)
    readout = [numbers[-1] for numbers in (precisions, bias_precisions) if numbers]
    results = [number * factor for number in readout]
    if factor > 0:
        results.append(1.0 if temperature == 0 else temperature / factor)
    if factor == 0 or not all(0 < number < math.inf for number in results):
        raise InputError(
            f"richness = {richness:g} at N_L = {width} makes N_L γ² = {factor:g}, by which float64 "
            f"can scale neither λ_L = {precisions[-1]:g} nor T = {temperature:g}: write a richness "
            f"from {width**-0.5:.3g}, 1/√N_L (lazy), to about 1 (rich)"
        )
    return Scaled(
        (*precisions[:-1], precisions[-1] * factor),
        bias_precisions and (*bias_precisions[:-1], bias_precisions[-1] * factor),
        temperature / factor,
        factor,
    )
