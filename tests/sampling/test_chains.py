"""The driver: what it records, and that nothing depends on how it cuts the work."""

import dataclasses
import inspect
import io
import os
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from cases import gaussian_task, posterior_of
from conftest import FEW_OPTIMISATIONS
from jax.extend.random import threefry_2x32
from samplers import stepper

import langevin_nn as lnn
from langevin_nn.sampling.dynamics.noise import inverse_erf, standard_normal, threefry
from langevin_nn.sampling.engine import driver
from langevin_nn.types import InputError

KEY = jax.random.key(3)


def test_samplers_have_the_same_arguments():
    """Spelled out in each, for those who read a signature; stated once, here."""

    def settings(function):
        own = ("posterior", "posteriors", "dynamics", "temperatures", "key", "keys")
        arguments = inspect.signature(function).parameters.items()
        return {
            name: (each.default, each.annotation) for name, each in arguments if name not in own
        }

    assert settings(lnn.sample) == settings(lnn.temper)
    of_points = settings(lnn.sample_points)
    of_one = settings(lnn.sample)
    _, path = of_one.pop("keep_weights")
    assert of_points.pop("keep_weights") == (None, Sequence[path] | None), "one for each point"
    _, functions = of_one.pop("observables")
    none, mapping = functions.__args__[1], functions.__args__[0]
    assert of_points.pop("observables") == (None, mapping | Sequence[mapping] | none)
    assert of_points == of_one


def posterior(temperature=0.2, precisions=(1.0, 1.0), dtype=jnp.float32):
    data = gaussian_task(6, 4, 8)
    return posterior_of(data, precisions=precisions, temperature=temperature, key=KEY, dtype=dtype)


def run(target=None, dynamics=None, **changes):
    settings = {"num_chains": 3, "num_warmup": 37, "num_samples": 11, "thinning": 5} | changes
    return lnn.sample(target or posterior(), dynamics or lnn.Langevin(0.02), key=KEY, **settings)


@pytest.mark.slow
def test_shapes_and_precision_of_what_is_recorded(monkeypatch):
    x_test = jnp.asarray(gaussian_task(6, 4, 8).x_test, jnp.float32)  # outside the span
    chains = run(
        observables={
            "norm": lambda network: jnp.sum(network.weights[0] ** 2),
            "f again": lambda network: jax.vmap(network)(x_test),
        }
    )
    assert chains.test_outputs.shape == (3, 11, 4) and chains.test_outputs.dtype == np.float32
    assert chains.train_error.shape == chains.energy.shape == (3, 11)
    assert chains.observables["norm"].shape == (3, 11)
    np.testing.assert_allclose(chains.observables["f again"], chains.f, rtol=1e-4, atol=1e-5)
    assert chains.f is chains.test_outputs and chains.train_outputs.shape == (3, 11, 6)
    errors = np.square(chains.train_outputs - gaussian_task(6, 4, 8).y_train).mean(axis=2)
    np.testing.assert_allclose(errors, chains.train_error, rtol=1e-5)
    assert chains.params.weights[0].shape == (3, 5, 6), "weights on the span: rank 6, not N_0 = 8"
    assert not chains.diverged.any()
    monkeypatch.setattr(driver, "SERIES_BYTES", 3 * 11 * 6 * 8 - 1)
    exact = run(posterior(dtype=jnp.float64))
    assert exact.test_outputs.dtype == np.float64
    assert exact.train_outputs is None, "a byte too large"


@pytest.mark.slow_except("7-1e-09")
@pytest.mark.parametrize(("first", "seconds"), [(1, 1e-9), (7, 1e-9), (1000, 100.0)])
def test_draws_do_not_depend_on_the_chunks(monkeypatch, first, seconds):
    whole = run()
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", first)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", seconds)
    monkeypatch.setattr(driver, "BUFFER_BYTES", 1.0 if first == 1 else 1e6)
    cut = run()
    np.testing.assert_array_equal(whole.test_outputs, cut.test_outputs)
    np.testing.assert_array_equal(whole.energy, cut.energy)


def other_posterior(name):
    settings = {"key": KEY, "biases": True}
    prior = lnn.GaussianPrior((1.0, 1.0), (1.0, 2.0))
    if name == "convolution":
        network = lnn.Convolutional(lnn.Patches((2, 2, 2), size=1, stride=1), 5, "erf", **settings)
    else:
        network = lnn.FullyConnected(8, (5,), "erf", num_outputs=3, **settings)
    data = gaussian_task(6, 4, 8, num_outputs=network.num_outputs)
    return lnn.GibbsPosterior(network, prior, data, 0.2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convolution", "three outputs"])
def test_other_networks_go_on_after_an_interruption_as_if_it_had_not_been(
    name, tmp_path, monkeypatch
):
    target = other_posterior(name)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    norms = {"norm": lambda network: jnp.sum(network.weights[0] ** 2)}
    whole = run(target, observables=norms)

    def interrupt(report):
        if report.steps > 37 + 3 * 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(target, observables=norms, checkpoint=tmp_path, progress=interrupt)
    resumed = run(target, observables=norms, checkpoint=tmp_path, resume=True)
    for name in ("test_outputs", "energy", "train_error"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    np.testing.assert_array_equal(resumed.observables["norm"], whole.observables["norm"])
    other = lnn.GaussianPrior((1.0, 1.0), (1.0, 3.0))
    changed = eqx.tree_at(lambda p: p.prior, target, other)
    with pytest.raises(InputError, match="another"):
        run(changed, observables=norms, checkpoint=tmp_path, resume=True)


def test_draws_are_the_steps_of_the_transition_one_by_one():
    target = posterior(dtype=jnp.float64)
    chains = run(target, num_warmup=3, thinning=2)
    key_init, _, stream, _ = jax.random.split(KEY, 4)
    keys = jax.random.split(stream, 3)
    moving = stepper(lnn.Langevin(0.02))
    state = moving.dynamics.init(target, target.sample_prior(key_init, 3), moving.settings)

    @eqx.filter_jit
    def moved(state, step):
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, step)
        state, _ = moving.step(target, state, folded)
        return state, target.energy(state.params)

    for step in range(3 + 11 * 2):
        state, energy = moved(state, jnp.asarray(step))
        if step >= 3 and (step - 3) % 2 == 1:
            draw = (step - 3) // 2
            np.testing.assert_allclose(chains.energy[:, draw], energy, rtol=1e-9)


def compilations(caplog, **changes):
    """How often the driver's program is compiled in one run of many chunks."""
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run(**changes)
    return sum("Finished XLA compilation of jit(advance)" in r.message for r in caplog.records)


@pytest.mark.slow
def test_one_compilation_for_all_chunks_and_for_other_values(caplog, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    fresh = {"num_samples": 7}
    assert compilations(caplog, **fresh) == 1
    others = {"target": posterior(0.3, (2.0, 0.5)), "dynamics": lnn.Langevin(0.01)}
    assert compilations(caplog, **fresh, **others, num_warmup=12, thinning=3) == 0


class OneBadChain(lnn.Langevin):
    """Chain 1 leaves the finite numbers."""

    def step(self, posterior, state, settings, keys):
        moved, info = super().step(posterior, state, settings, keys)
        spoiled = jax.tree.map(lambda w: w.at[1].set(jnp.nan), moved.params)
        return type(moved)(spoiled), info


@pytest.mark.slow
def test_a_diverged_chain_is_counted_and_left_out():
    good = run(dynamics=lnn.Langevin(0.02))
    bad = run(dynamics=OneBadChain(0.02))
    np.testing.assert_array_equal(bad.diverged, [False, True, False])
    measured = lnn.summarise(bad)
    assert measured.diagnostics.diverged_chains == 1 and not measured.converged
    assert "1 of 3 chains diverged" in measured.message
    rest = lnn.summarise(_only(good, [0, 2]))
    assert measured.bias2 == rest.bias2 and measured.variance == rest.variance


def _only(chains, keep):
    return dataclasses.replace(
        chains, test_outputs=chains.test_outputs[keep], train_error=chains.train_error[keep],
        energy=chains.energy[keep], train_outputs=chains.train_outputs[keep],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["num_chains", "num_samples", "thinning"])
def test_counts_must_be_positive(name):
    with pytest.raises(InputError, match=f"{name} must be a whole number"):
        run(**{name: 0})


@pytest.mark.slow
def test_chains_are_shared_out_over_devices(tmp_path):
    """Three chains on four devices lie on three of them, and each is what it is on one."""
    program = textwrap.dedent(
        """
        import sys, jax, numpy as np
        assert jax.device_count() == 4
        from test_chains import run
        chains = run()
        assert len(chains.params.weights[0].sharding.device_set) == 3
        np.save(sys.argv[1], chains.test_outputs)
        """
    )
    path, here = tmp_path / "f.npy", Path(__file__).parent
    environment = os.environ | {
        "XLA_FLAGS": f"{FEW_OPTIMISATIONS} --xla_force_host_platform_device_count=4",
        "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
        "JAX_ENABLE_X64": "1",
    }
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment)
    np.testing.assert_allclose(np.load(path), run().test_outputs, atol=2e-3)


@pytest.mark.parametrize("count", [1, 2, 7, 1000])
def test_words_are_those_of_jax(count, seed):
    """An odd number is one word short of JAX's even one."""
    key = jax.random.key(seed)
    counters = jnp.arange(count + count % 2, dtype=jnp.uint32)
    expected = threefry_2x32(jax.random.key_data(key), counters)[:count]
    np.testing.assert_array_equal(jax.jit(threefry, static_argnums=1)(key, count), expected)


def test_inverse_error_function_is_scipys():
    """On numbers as the generator makes them, to the rounding of float32, tails included."""
    near_one = 1 - 2.0 ** -np.arange(1, 24)
    x = np.float32(np.concatenate([np.linspace(-0.999, 0.999, 10_001), near_one, -near_one]))
    exact = scipy.special.erfinv(x.astype(np.float64))
    np.testing.assert_allclose(jax.jit(inverse_erf)(x), exact, rtol=2e-6, atol=1e-30)


@pytest.mark.slow
def test_noise_is_standard_normal(seed):
    """Mean, variance, fourth moment and tail of the float32 generator, in standard errors."""

    @jax.jit
    def drawn(key):
        return standard_normal(key, (3, 1_000_001), jnp.float32)

    z = np.asarray(drawn(jax.random.key(seed)), np.float64)
    assert z.shape == (3, 1_000_001)
    z = z.ravel()
    n = z.size
    assert abs(z.mean()) * np.sqrt(n) < 5
    assert abs(np.mean(z**2) - 1) * np.sqrt(n / 2) < 5
    assert abs(np.mean(z**4) - 3) * np.sqrt(n / 96) < 5
    tail = 0.0026997960632601866  # of |z| > 3
    assert abs(np.mean(np.abs(z) > 3) - tail) * np.sqrt(n / tail) < 5
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) * np.sqrt(n) < 5
    other = np.asarray(drawn(jax.random.key(seed + 1)))
    assert abs(np.corrcoef(z, other.ravel())[0, 1]) * np.sqrt(n) < 5


@pytest.mark.slow_except("True-None-sampling", "False-None-", "True-False-", "False-True-100 %")
@pytest.mark.parametrize(
    ("is_terminal", "progress", "words"),
    [
        (True, None, "sampling"), (False, None, ""), (True, False, ""), (False, True, "100 %"),
        (True, True, "sampling"),
    ],
)  # fmt: skip
def test_a_bar_is_shown_where_somebody_watches(is_terminal, progress, words, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("langevin_nn.progress.DELAY", 0.0)
    run(progress=progress)
    assert words in screen.getvalue() and bool(screen.getvalue()) == bool(words)
