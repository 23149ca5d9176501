"""The Runge–Kutta–Chebyshev method: its stability polynomial, its order, its use in a flow."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

from langevin_nn.training.stabilised import Stabilised

jax.config.update("jax_enable_x64", True)


def one_step(stages, rate, y0=1.0):
    """y₁ and the error estimate of a step of length one of dy/dt = rate·y."""
    term = diffrax.ODETerm(lambda t, y, args: args * y)
    solver = Stabilised(stages)
    y0 = jnp.asarray(y0)
    state = solver.init(term, 0.0, 1.0, y0, rate)
    y1, error, _, after, _ = solver.step(term, 0.0, 1.0, y0, rate, state, False)
    np.testing.assert_allclose(after, rate * y1)
    return float(y1), float(error)


@pytest.mark.parametrize("stages", [4, 12])
def test_stable_down_to_its_bound_and_no_further(stages):
    """|R(z)| ≤ 1 − damping/3 inside, and R(z) = 1 + z + z²/2 + O(z³) at small z."""
    bound = 2 / 3 * (stages**2 - 1) * (1 - 2 / 15 * 2 / 13)
    for z in -bound * np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.9, 0.98]):
        assert abs(one_step(stages, z)[0]) < 1, z
    assert abs(one_step(stages, -1.05 * bound)[0]) > 1
    assert bound > 0.6 * (stages**2 - 1)
    for z in (-0.02, -0.04):
        y1, error = one_step(stages, z)
        assert abs(y1 - (1 + z + z**2 / 2)) < 0.2 * abs(z) ** 3
        # 0.8 (1 − R) + 0.4 z (1 + R) = −0.8 r₃z³ + 0.2 z³ + …, R = 1 + z + z²/2 + r₃z³
        third = (y1 - 1 - z - z**2 / 2) / z**3
        assert error == pytest.approx((0.2 - 0.8 * third) * z**3, rel=0.1)


@pytest.mark.slow
def test_order_two_on_a_nonlinear_system():
    """Errors at a fixed step fall four times when it is halved; the limit is SciPy's."""

    def field(t, y, args=None):
        return jnp.stack([-5 * (y[0] - y[1] ** 2), -y[1] * y[0]])

    exact = scipy.integrate.solve_ivp(
        lambda t, y: np.array([-5 * (y[0] - y[1] ** 2), -y[1] * y[0]]), (0, 2), [1.0, 2.0],
        "DOP853", rtol=1e-11, atol=1e-12,
    ).y[:, -1]  # fmt: skip
    errors = []
    for steps in (20, 40, 80):
        found = diffrax.diffeqsolve(
            diffrax.ODETerm(field), Stabilised(6), 0.0, 2.0, 2.0 / steps, jnp.array([1.0, 2.0])
        )
        errors.append(np.abs(found.ys[-1] - exact).max())
    assert errors[2] < 1e-3
    orders = np.log2(np.array(errors[:-1]) / errors[1:])
    assert np.all(np.abs(orders - 2) < 0.3), errors
