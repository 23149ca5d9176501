"""The split dynamics through the driver, on either read-out; the tables hold its other laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from samplers import KEY, READOUTS, WithoutDeterminant
from statistics_in_sigmas import SIGMAS

import langevin_nn as lnn
from langevin_nn.sampling.engine import driver
from langevin_nn.theory import scale_mixture
from langevin_nn.types import InputError

# --- hidden layers: narrow linear networks, whose posterior is known exactly


def narrow(kind, temperature=0.5):
    data = gaussian_task(num_train=4, num_test=20, in_size=3)
    return posterior_of(
        data, (3, 2), "identity", (0.9, 1.2, 0.8), temperature, key=KEY, kind=READOUTS[kind],
        dtype=jnp.float32,
    )  # fmt: skip


def narrow_run(kind, seed, temperature=0.5):
    posterior = narrow(kind, temperature)
    chains = lnn.sample(
        posterior, lnn.Split(), key=jax.random.key(seed), num_chains=32, num_warmup=200,
        num_samples=250, thinning=2,
    )  # fmt: skip
    return chains, scale_mixture(posterior.ensemble.at(temperature=0.5))


def narrow_deviations(chains, exact):
    measured = lnn.summarise(chains)
    assert measured.diagnostics.ess_min > 400 and measured.diagnostics.rhat_max < 1.02
    names = ("bias2", "variance", "generalisation_error", "train_error")
    pairs = [(getattr(measured, name), getattr(exact, name)) for name in names]
    return max(abs(mine.value - theirs.value) / mine.mcse for mine, theirs in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READOUTS)
def test_narrow_linear_networks_have_their_exact_posterior(kind, seed):
    """And the step size is adapted to the acceptance."""
    chains, exact = narrow_run(kind, seed)
    assert narrow_deviations(chains, exact) < SIGMAS
    assert chains.step_size < np.pi / 2
    # Dual averaging over some hundred trajectories; the cap of π/2 may leave a higher acceptance.
    assert 0.7 < chains.acceptance.mean() < 0.95
    assert np.isnan(chains.stability_limit) and chains.slopes is None
    acceptance = lnn.summarise(chains).diagnostics.acceptance
    assert acceptance == pytest.approx(float(chains.acceptance.mean()))


@pytest.mark.slow
@pytest.mark.parametrize("mistake", ["temperature", "log det"])
def test_mistakes_in_the_marginal_likelihood_are_caught(mistake, seed, monkeypatch):
    if mistake == "log det":
        monkeypatch.setitem(READOUTS, "marginalised", WithoutDeterminant)
    temperature = 0.55 if mistake == "temperature" else 0.5
    assert narrow_deviations(*narrow_run("marginalised", seed, temperature)) > 2 * SIGMAS


# --- what the driver makes of it


def small(kind, dtype=jnp.float32):
    data = gaussian_task(6, 4, 8, num_outputs=3)
    return posterior_of(
        data, temperature=0.2, bias_precisions=(1.0, 2.0), key=KEY, kind=READOUTS[kind], dtype=dtype
    )


def norm(network):
    return jnp.sum(network.weights[-1] ** 2)


def run(target, dynamics=None, **changes):
    settings = {"num_chains": 3, "num_warmup": 40, "num_samples": 12, "thinning": 2} | changes
    observables = {"norm": norm}  # one function: another lambda is another program
    return lnn.sample(target, dynamics or lnn.Split(), key=KEY, observables=observables, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [10, 50], ids=["warm-up", "sampling"])
@pytest.mark.parametrize("kind", READOUTS)
def test_resumes_bit_for_bit_and_does_not_depend_on_chunks(kind, stop, tmp_path, monkeypatch):
    target, dynamics = small(kind), lnn.Split(refresh=0.7)
    whole = run(target, dynamics)
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 3)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)

    def interrupt(report):
        if report.steps > stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(target, dynamics, checkpoint=tmp_path, progress=interrupt)
    resumed = run(target, dynamics, checkpoint=tmp_path, resume=True)
    assert resumed.step_size == whole.step_size
    for name in ("test_outputs", "test_variances", "energy", "train_error", "acceptance"):
        if getattr(whole, name) is None:
            continue
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    np.testing.assert_array_equal(resumed.observables["norm"], whole.observables["norm"])
    with pytest.raises(InputError, match="another"):
        run(target, lnn.Split(refresh=0.6), checkpoint=tmp_path, resume=True)


class Bursting(lnn.Split):
    """A third of the trajectories end nowhere."""

    def trajectory(self, posterior, start, step_size, steps):
        end, change = super().trajectory(posterior, start, step_size, steps)
        burst = jnp.abs(end.misfit * 1e3) % 3 < 1
        return end, jnp.where(burst, jnp.nan, change)


@pytest.mark.slow
def test_proposals_that_are_not_finite_are_rejected_and_counted():
    chains = run(small("sampled"), Bursting(0.2), num_samples=100)
    assert not chains.diverged.any()
    assert 0.05 < chains.nonfinite.mean() < 0.9
    assert lnn.summarise(chains).diagnostics.nonfinite == pytest.approx(chains.nonfinite.mean())


@pytest.mark.parametrize(
    "numbers", [{"step_size": 2.0}, {"refresh": 0.0}, {"trajectory_length": -1.0}]
)
def test_numbers_out_of_range_are_refused(numbers):
    with pytest.raises(InputError, match="of the split dynamics must be positive"):
        lnn.Split(**numbers)
