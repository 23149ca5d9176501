"""Tests run in float64 where they ask for it, with silent broadcasting of ranks forbidden."""

import os

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def seed() -> int:
    """Fixed; LANGEVIN_NN_TEST_SEED sweeps it, to see how often a statistical test errs."""
    return int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))
