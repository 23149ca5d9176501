"""An activation with its Gaussian dual: σ(z) = 1 − e^(−|z|), the cumulative Laplace law of |z|.

It has a kink at zero and is even. Its dual is left to quadrature; that of an activation with a
known E[σ(u)σ(v)] would be `Activation("laplace", laplace, ClosedForm(formula), odd=False)`.
"""

import jax.numpy as jnp


def laplace(z):
    return 1 - jnp.exp(-jnp.abs(z))
