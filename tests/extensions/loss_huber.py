"""The loss of Huber (1964): ½ (y − f)² up to |y − f| = 1, and linear beyond it."""

import jax.numpy as jnp
import numpy as np

import langevin_nn as lnn


class Huber(lnn.Loss):
    name = "huber"

    def __call__(self, f, y):
        distance = jnp.abs(y - f)
        return jnp.where(distance < 1, distance**2 / 2, distance - 0.5)

    def check(self, targets):
        """Any numbers will do; a loss without this takes labels y = ±1 alone."""
        np.asarray(targets, float)
