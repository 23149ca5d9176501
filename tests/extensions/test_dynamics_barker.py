"""A dynamics of one's own: what the package makes of it. The tables of laws have it as a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task
from extensions.dynamics_barker import Barker
from numpyro.infer import MCMC
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.runs.tables import _step_size_text
from langevin_nn.sampling.engine import driver
from langevin_nn.theory import infinite_width

KEY = jax.random.key(2)
COUNTS = {"num_chains": 4, "num_warmup": 20, "num_samples": 10, "thinning": 2}


@pytest.fixture
def posterior():
    """Linear in its weights: of infinite width at any width."""
    data = gaussian_task(6, 4, 3)
    network = lnn.FullyConnected(3, (), key=KEY, dtype=jnp.float64)
    return lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0,)), data, 0.5)


@pytest.mark.slow
def test_its_averages_are_those_of_the_theory(posterior):
    chains = lnn.sample(
        posterior, Barker(0.5), key=KEY, num_warmup=200, num_samples=500, thinning=5
    )
    measured, theory = lnn.summarise(chains), infinite_width(posterior.ensemble)
    assert measured.converged and 0.4 < measured.diagnostics.acceptance < 0.9
    for name in ("bias2", "variance", "train_error"):
        here, there = getattr(measured, name), getattr(theory, name)
        assert abs(here.value - there.value) < SIGMAS * here.mcse, name
    assert measured.step_size_bias is None and chains.slopes is None
    assert _step_size_text(measured, chains, ladder=False) == "no bias"


@pytest.mark.slow
def test_its_own_defaults_are_used(posterior):
    chains = lnn.sample(posterior, Barker(), key=KEY, num_chains=2, num_samples=4)
    assert (chains.step_size, chains.thinning) == (0.2, Barker.usage.thinning)


@pytest.mark.slow
def test_it_goes_on_after_an_interruption_as_if_it_had_not_been(posterior, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 3)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    whole = lnn.sample(posterior, Barker(), key=KEY, **COUNTS)

    def interrupt(report):
        if report.steps > 25:
            raise KeyboardInterrupt

    settings = {"key": KEY, "checkpoint": tmp_path} | COUNTS
    with pytest.raises(KeyboardInterrupt):
        lnn.sample(posterior, Barker(), progress=interrupt, **settings)
    resumed = lnn.sample(posterior, Barker(), resume=True, **settings)
    np.testing.assert_array_equal(resumed.test_outputs, whole.test_outputs)
    with pytest.raises(lnn.InputError, match="another run"):
        lnn.sample(posterior, Barker(0.3), resume=True, **settings)


@pytest.mark.slow
def test_it_climbs_a_ladder_and_is_a_kernel_of_numpyro(posterior):
    ladder = lnn.temper(posterior, Barker(), (1.0, 2.0), key=KEY, **COUNTS)
    assert np.all(ladder.swap_acceptance > 0.1)
    kernel = lnn.NumPyroKernel(posterior, Barker(), steps_per_sample=2)
    mcmc = MCMC(
        kernel, num_warmup=20, num_samples=10, num_chains=4, chain_method="vectorized",
        progress_bar=False,
    )  # fmt: skip
    mcmc.run(KEY, extra_fields=("info.acceptance",))
    assert 0.5 < mcmc.get_extra_fields()["info.acceptance"].mean() < 1
