"""Posteriors side by side in one program: each is what it is alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task

import langevin_nn as lnn
from langevin_nn.sampling.engine import driver
from langevin_nn.types import InputError

KEY = jax.random.key(8)
READOUTS = {"sampled": lnn.GibbsPosterior, "marginalised": lnn.MarginalisedPosterior}
DYNAMICS = {"langevin": lnn.Langevin(), "split": lnn.Split()}
COUNTS = {"num_chains": 4, "num_warmup": 30, "num_samples": 6, "thinning": 2}


def points(kind, *changes, dtype=jnp.float64, num_train=6):
    """A posterior for each (λ_1, T, seed of the data)."""
    network = lnn.FullyConnected(8, (5,), "erf", key=KEY, dtype=dtype)
    return [
        READOUTS[kind](
            network,
            lnn.GaussianPrior((1.0, precision)),
            gaussian_task(num_train, 4, 8, seed=seed),
            temperature,
        )
        for precision, temperature, seed in changes
    ]


THREE = [(1.0, 0.2, 0), (3.0, 0.2, 1), (0.5, 0.7, 2)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dynamics", "kind"),
    [
        pytest.param("langevin", "sampled", marks=pytest.mark.slow),
        ("split", "marginalised"),
    ],
)
def test_each_point_is_what_it_is_alone(kind, dynamics):
    keys = jax.random.split(KEY, 3)
    together = lnn.sample_points(points(kind, *THREE), DYNAMICS[dynamics], keys=keys, **COUNTS)
    alone = lnn.sample(points(kind, *THREE)[1], DYNAMICS[dynamics], key=keys[1], **COUNTS)
    assert together[1].step_size == pytest.approx(alone.step_size, rel=1e-9)
    np.testing.assert_allclose(together[1].test_outputs, alone.test_outputs, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(together[1].energy, alone.energy, rtol=1e-7)
    step_sizes = [chains.step_size for chains in together]
    assert len(set(step_sizes)) == 3, "each adapts its own"
    assert lnn.summarise(together[2]).bias2 != lnn.summarise(together[1]).bias2


@pytest.mark.slow
def test_points_go_on_after_an_interruption(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)
    keys = jax.random.split(KEY, 3)
    given = (points("marginalised", *THREE), lnn.Split())
    whole = lnn.sample_points(*given, keys=keys, **COUNTS)

    def interrupt(report):
        if report.steps > 34:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lnn.sample_points(*given, keys=keys, **COUNTS, checkpoint=tmp_path, progress=interrupt)
    resumed = lnn.sample_points(*given, keys=keys, **COUNTS, checkpoint=tmp_path, resume=True)
    for mine, theirs in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(mine.test_outputs, theirs.test_outputs)
        assert mine.step_size == theirs.step_size
    other = points("marginalised", *THREE[:2], (0.5, 0.8, 2))
    with pytest.raises(InputError, match="another run"):
        lnn.sample_points(other, lnn.Split(), keys=keys, **COUNTS, checkpoint=tmp_path, resume=True)


class Poisoned(lnn.Langevin):
    """Leaves the finite numbers where λ_1 is above 2."""

    def step(self, posterior, state, settings, keys):
        moved, info = super().step(posterior, state, settings, keys)
        bad = jnp.where(posterior.prior.precisions[1] > 2, jnp.nan, 0.0)
        return type(moved)(jax.tree.map(lambda w: w + bad, moved.params)), info


@pytest.mark.slow
def test_a_point_that_diverges_does_not_stop_the_others():
    keys = jax.random.split(KEY, 3)
    found = lnn.sample_points(points("sampled", *THREE), Poisoned(0.02), keys=keys, **COUNTS)
    assert [bool(chains.diverged.all()) for chains in found] == [False, True, False]
    with pytest.raises(InputError, match="every chain diverged"):
        lnn.summarise(found[1])
    with pytest.raises(lnn.Diverged, match="all 4 chains diverged"):
        all_bad = points("sampled", *((3.0, temperature, seed) for _, temperature, seed in THREE))
        lnn.sample_points(all_bad, Poisoned(0.02), keys=keys, **COUNTS)


def test_points_of_different_shapes_are_refused():
    ((first,), (second,)) = (points("sampled", THREE[0], num_train=n) for n in (6, 5))
    with pytest.raises(InputError, match="must share all shapes"):
        lnn.sample_points([first, second], lnn.Langevin(), keys=jax.random.split(KEY, 2), **COUNTS)
    with pytest.raises(InputError, match="a key of its own, got 1 posteriors and 2 keys"):
        lnn.sample_points([first], lnn.Langevin(), keys=jax.random.split(KEY, 2), **COUNTS)


@pytest.mark.slow
def test_other_numbers_of_the_points_compile_nothing(caplog):
    def compilations(*changes):
        caplog.clear()
        given = points("marginalised", *changes)
        with jax.log_compiles(), caplog.at_level("WARNING"):
            lnn.sample_points(given, lnn.Split(), keys=jax.random.split(KEY, 3), **COUNTS)
        return sum("Finished XLA compilation of jit(advance)" in r.message for r in caplog.records)

    assert compilations(*THREE) <= 1, "none where a test before this one has compiled it"
    assert compilations((2.0, 0.3, 4), (1.0, 0.1, 5), (7.0, 0.4, 6)) == 0


def test_a_posterior_at_another_temperature_is_that_made_with_it():
    (cold,), (warm,) = (points("marginalised", (1.0, t, 0)) for t in (0.2, 0.5))
    assert eqx.tree_equal(cold.at_temperature(0.5), warm)
