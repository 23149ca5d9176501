"""What a richness makes of a run's λ and T, for files, tables and figures beside the given ones."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from langevin_nn.config.record import RunConfig
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.richness import precision_factor
from langevin_nn.theory.effective.one_layer import OneLayerSweep

__all__ = ["StandardScaling", "along_precision", "along_width"]


@dataclass(frozen=True, kw_only=True)
class StandardScaling:
    """The λ and the T of the Gibbs measure of a run with a richness: those of the standard scaling.

    Args:
        richness: γ.
        width: N_L, the width of the last hidden layer.
        prior_precisions: λ_0 … λ_L, the last of them N_L γ² times the one that was given.
        bias_precisions: those of the biases, the last likewise; empty without biases.
        temperature: T/(N_L γ²) of the T that was given.
    """

    richness: float
    width: int
    prior_precisions: tuple[float, ...]
    bias_precisions: tuple[float, ...] = ()
    temperature: float

    @classmethod
    def of(cls, config: RunConfig) -> "StandardScaling | None":
        """That of a run's configuration; None for one without a richness.

        >>> from langevin_nn.config.record import from_dict
        >>> StandardScaling.of(from_dict({"posterior": {"richness": 0.5}})).text
        'γ = 0.5, N_L = 200: λ_L N_L γ² = 50 in place of λ_L = 1, T/(N_L γ²) = 0.002 in place of T = 0.1'
        """  # noqa: E501
        if config.posterior.richness is None:
            return None
        used = config.in_standard_scaling
        return cls(
            richness=float(config.posterior.richness),
            width=config.network.hidden_widths[-1],
            prior_precisions=used.prior.precisions,
            bias_precisions=used.prior.bias_precisions,
            temperature=used.posterior.temperature,
        )

    @property
    def factor(self) -> float:
        """N_L γ²."""
        return precision_factor(self.richness, self.width)

    @property
    def text(self) -> str:
        """What the richness changes, in a line."""
        precision, temperature = self.prior_precisions[-1], self.temperature
        return (
            f"γ = {self.richness:g}, N_L = {self.width}: λ_L N_L γ² = {precision:.4g} in place of "
            f"λ_L = {precision / self.factor:.4g}, T/(N_L γ²) = {temperature:.4g} in place of "
            f"T = {temperature * self.factor:.4g}"
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of posterior.nc: numbers, and lists of them."""
        lists = {"standard_scaling_prior_precisions": list(self.prior_precisions)}
        if self.bias_precisions:
            lists["standard_scaling_bias_precisions"] = list(self.bias_precisions)
        return {
            "richness": self.richness,
            "standard_scaling_temperature": self.temperature,
            **lists,
        }


def along_width(
    at_points: Any, ensemble: Ensemble, widths: np.ndarray, scaling: StandardScaling | None
) -> OneLayerSweep | None:
    """A theory with one hidden layer at these widths, λ and T, or γ, as they are.

    None where the read-out's bias would have to change with the width, too.
    """
    if scaling is None:
        swept = at_points(ensemble, width=widths)
    elif scaling.bias_precisions:
        return None
    else:
        ratios = widths / scaling.width
        swept = at_points(
            ensemble, width=widths, readout_precision=scaling.prior_precisions[-1] * ratios,
            temperature=scaling.temperature / ratios,
        )  # fmt: skip
    assert isinstance(swept, OneLayerSweep)
    return swept


def along_precision(
    at_points: Any, ensemble: Ensemble, ratios: np.ndarray, scaling: StandardScaling | None
) -> tuple[OneLayerSweep, float]:
    """A theory with one hidden layer at these multiples of λ_1, and λ_1: both as they are given."""
    precision = ensemble.spec.prior_precisions[-1]
    swept = at_points(ensemble, readout_precision=precision * ratios)
    assert isinstance(swept, OneLayerSweep)
    if scaling is None:
        return swept, precision
    given = precision / scaling.factor
    return replace(swept, readout_precision=given * ratios), given
