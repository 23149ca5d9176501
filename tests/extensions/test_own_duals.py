"""A dual of one's own is right at small and large variances too, as other priors make them."""

import jax
import jax.numpy as jnp
import pytest
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.model.activations import ClosedForm, erf, gelu, identity, relu


def beyond(low, high):
    """The dual of erf, 5 % off at variances outside of these: a series, or one that is cut."""

    def formula(xp, a, b, c):
        inside = (a * b > low**2) & (a * b < high**2)
        return xp.where(inside, 1.0, 0.95) * erf.dual.formula(xp, a, b, c)

    return ClosedForm(formula)


@pytest.mark.parametrize("dual", [beyond(0.1, 1e9), beyond(0.0, 5.0), beyond(0.0, 200.0)])
def test_a_dual_is_held_against_averages_at_small_and_large_variances(dual):
    with refuses("'own'", "activation(function)"):
        lnn.activation(lnn.Activation("own", erf.function, dual, odd=True))


def exponential_dual(xp, a, b, c):
    return xp.exp((a + b) / 2 + c)


def sine_dual(xp, a, b, c):
    return xp.exp(-(a + b) / 2) * xp.sinh(c)


def cubic_dual(xp, a, b, c):
    return 9 * a * b * c + 6 * c**3


@pytest.mark.slow
@pytest.mark.parametrize("x64", [True, False])
def test_duals_that_are_right_at_all_variances(x64):
    """Also those that overflow, or whose average no grid has."""
    with jax.enable_x64(x64):
        for function, formula, odd in (
            (jnp.exp, exponential_dual, False),
            (jnp.sin, sine_dual, True),
            (lambda z: z**3, cubic_dual, True),
            *((own.function, own.dual.formula, own.odd) for own in (erf, relu, gelu, identity)),
        ):
            own = lnn.Activation("own", function, ClosedForm(formula), odd)
            assert lnn.activation(own) is own
