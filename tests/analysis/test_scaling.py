"""Fitted exponents against power laws with known noise."""

import numpy as np
import pytest
from statistics_in_sigmas import SIGMAS, worst, z_scores

from langevin_nn.analysis.scaling import power_law
from langevin_nn.types import Estimate, InputError

X = np.array([1.0, 3.0, 4.0, 20.0, 50.0, 90.0])
RELATIVE = np.array([0.02, 0.01, 0.05, 0.01, 0.03, 0.1])


@pytest.mark.parametrize(
    ("stated", "noise"), [(1.0, 1.0), (0.0, 0.02 / RELATIVE), (0.3, 1.0)],
    ids=["of known error", "without errors", "of errors stated too small"],
)  # fmt: skip
def test_exponent_and_its_error(stated, noise):
    """Both over repetitions; errors stated too small show in χ² and are enlarged by it."""
    rng = np.random.default_rng(4)
    law = 5.0 * X**-0.5
    found = []
    for _ in range(600):
        y = law * np.exp(RELATIVE * noise * rng.standard_normal(6))
        found.append(
            power_law(X, [Estimate(v, stated * s) for v, s in zip(y, y * RELATIVE, strict=True)])
        )
    values = np.array([[(f.exponent.value, f.exponent.mcse),
                        (np.log(f.prefactor.value), f.prefactor.mcse / f.prefactor.value)]
                       for f in found])  # fmt: skip
    assert worst(z_scores(values[..., 0], np.array([-0.5, np.log(5.0)]))) < SIGMAS
    ratio = np.sqrt(np.mean(values[..., 1] ** 2, axis=0)) / values[..., 0].std(axis=0)
    # χ² < 1 does not make errors smaller: on average they are then 10 % too large
    assert np.all((ratio > 0.9) & (ratio < 1.2)), ratio
    assert np.mean([f.chi2 for f in found]) == pytest.approx(
        {1.0: 1.0, 0.0: 0.02**2, 0.3: 1 / 0.09}[stated], rel=0.1
    )


def test_what_is_no_power_law():
    good = [Estimate(1.0, 0.1), Estimate(2.0, 0.1), Estimate(3.0, 0.1)]
    with pytest.raises(InputError, match=r"three points or more.*got \(2,\) and \(3,\)"):
        power_law([1.0, 2.0], good)
    with pytest.raises(InputError, match="three points or more"):
        power_law([1.0, 2.0], good[:2])
    with pytest.raises(InputError, match="positive finite"):
        power_law([1.0, 2.0, 3.0], [*good[:2], Estimate(-1.0, 0.1)])
    with pytest.raises(InputError, match="every point needs a standard error, or none"):
        power_law([1.0, 2.0, 3.0], [*good[:2], Estimate(3.0)])
