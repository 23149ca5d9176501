"""Tests run in float64 where they ask for it, with silent broadcasting of ranks forbidden."""

import os
import signal

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def seed() -> int:
    """Fixed; LANGEVIN_NN_TEST_SEED sweeps it, to see how often a statistical test errs."""
    return int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))
