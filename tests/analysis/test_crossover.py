"""How far the tangent kernel moves with the output scale α: exact exponents of both ends."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from cases import gaussian_task, posterior_of

import langevin_nn as lnn
from langevin_nn.analysis.landscape.gradients import relative_change, tangent_kernel

KEY = jax.random.key(2)
TASK = gaussian_task(8, 3, 4)
LABELLED = replace(TASK, y_train=np.sign(TASK.y_train))


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(14,), (10, 10)], ids=["L=1", "L=2"])
def test_change_of_the_kernel_falls_with_the_output_scale(widths):
    """‖Θ_t − Θ_0‖/‖Θ_0‖ ~ α^(−1), of each network, and ~ α^(−2L/(L+1)) where features are learnt.

    Weights that have grown by s have outputs ~ s^(L+1) = 1/α and a tangent kernel ~ s^(2L).
    """
    hinge = {"temperature": 1.0, "loss": lnn.Hinge()}
    posterior = posterior_of(LABELLED, widths, "swish10", key=KEY, **hinge)

    def change(scale):
        flow = lnn.gradient_flow(
            posterior, key=KEY, num_initialisations=8, output_scale=scale, loss_tolerance=5e-5,
            rtol=1e-5, atol=1e-7, max_steps=5000,
        )  # fmt: skip
        assert flow.converged and not flow.unsatisfied.any()
        before, after = (tangent_kernel(posterior, p) for p in (flow.initial_params, flow.params))
        return relative_change(after, before)

    lazy = np.log10(change(1e5) / change(1e7)) / -2
    np.testing.assert_allclose(lazy, -1, atol=0.01)
    features = np.log10(change(1e-4) / change(1e-2)) / -2
    depth = len(widths)
    expected = -2 * depth / (depth + 1)
    error = features.std(ddof=1) / np.sqrt(8)
    # corrections at these α are of the order of one over the growth of the weights
    assert abs(features.mean() - expected) < 4 * error + 0.02 and error < 0.02, features
