"""A sampling that asks for more draws goes on from its checkpoint, as one long one would."""

import dataclasses

import jax
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from refusals import refuses

import langevin_nn as lnn
from langevin_nn.sampling import draws
from langevin_nn.sampling.engine import driver

KEY = jax.random.key(5)
DATA = gaussian_task(num_train=4, num_test=3, in_size=6)
POSTERIORS = {
    "sampled": posterior_of(DATA, (3,), key=KEY, kind=lnn.GibbsPosterior),
    "marginalised": posterior_of(DATA, (3,), key=KEY, kind=lnn.MarginalisedPosterior),
}
COUNTS = {"key": KEY, "num_chains": 2, "num_warmup": 6, "thinning": 2, "progress": False}
RULE = lnn.TargetError(0.5, max_draws=400)


def norm(network):
    return sum((weight**2).sum() for weight in network.weights)


@pytest.fixture(autouse=True)
def in_chunks(monkeypatch):
    """Saved after a few steps, so that the parts end where the whole has other chunks."""
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 10)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)


def assert_same(mine, theirs, but=("wall_seconds", "last_state", "extendable", "loss")):
    """All arrays of two `Chains`, slopes and last weights included, to the last bit."""
    for field in dataclasses.fields(theirs):
        if field.name not in but:
            pair = getattr(mine, field.name), getattr(theirs, field.name)
            leaves = [jax.tree.leaves(as_tree(part)) for part in pair]
            assert len(leaves[0]) == len(leaves[1]), field.name
            for a, b in zip(*leaves, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=field.name)


def as_tree(part):
    return dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part


def both(tmp_path, posterior, dynamics, lengths, **options):
    """The draws in as many parts as there are lengths, and at once."""
    kept = {"checkpoint": tmp_path / "parts"}
    if "keep_weights" in options:
        kept["keep_weights"] = tmp_path / "parts.npy"
        options["keep_weights"] = tmp_path / "whole.npy"
    options = COUNTS | options
    for length in lengths:
        parts = lnn.sample(posterior, dynamics, **options | kept | length, resume=True)
    return parts, lnn.sample(posterior, dynamics, **options | lengths[-1])


CASES = {
    "langevin": ("sampled", lnn.Langevin(), [8, 32], {}),
    "langevin, weights and observables": (
        "sampled", lnn.Langevin(), [6, 12], {"keep_weights": True, "observables": {"norm": norm}},
    ),
    "split, marginalised": ("marginalised", lnn.Split(), [5, 6, 11], {"num_warmup": "auto"}),
    "langevin, marginalised": ("marginalised", lnn.Langevin(), [7, 16], {}),
    "split, weights": ("sampled", lnn.Split(), [5, 9], {"keep_weights": True}),
}  # fmt: skip


@pytest.mark.slow_except(
    "langevin, weights and observables",
    "split, marginalised",
    "langevin, marginalised",
    "split, weights",
)
@pytest.mark.parametrize(
    "case", [
        pytest.param(name, marks=pytest.mark.slow if i else ()) for i, name in enumerate(CASES)
    ],
)  # fmt: skip
def test_more_draws_are_those_of_one_long_sampling(tmp_path, case):
    kind, dynamics, numbers, options = CASES[case]
    lengths = [{"num_samples": number} for number in numbers]
    parts, whole = both(tmp_path, POSTERIORS[kind], dynamics, lengths, **options)
    assert parts.energy.shape[1] == numbers[-1]
    assert_same(parts, whole)
    assert parts.extendable and not whole.extendable
    if "keep_weights" in options:
        files = [(tmp_path / name).read_bytes() for name in ("parts.npy", "whole.npy")]
        assert files[0] == files[1]
        assert not list(tmp_path.glob(".*.part"))
    if kind == "sampled" and isinstance(dynamics, lnn.Langevin):
        strides = [draws_with.slopes.draws for draws_with in (parts, whole)]
        assert strides[0].tolist() == strides[1].tolist() and len(strides[0]) > 3


@pytest.mark.slow
def test_a_target_goes_on_where_a_number_ended_and_one_where_a_larger_one_did(tmp_path):
    """The looks are those of one long sampling."""
    lengths = [{"num_samples": 30}, {"until": RULE}, {"until": lnn.TargetError(0.3)}]
    parts, whole = both(tmp_path, POSTERIORS["marginalised"], lnn.Split(), lengths)
    assert_same(parts, whole)
    assert parts.energy.shape[1] > 60


@pytest.mark.slow
def test_a_ladder_goes_on(tmp_path):
    def tempered(number, **options):
        counts = COUNTS | {"num_samples": number} | options
        return lnn.temper(POSTERIORS["marginalised"], lnn.Split(), (1.0, 3.0), **counts)

    for number in (4, 7):
        parts = tempered(number, checkpoint=tmp_path / "saved", resume=True)
    whole = tempered(7)
    for mine, theirs in zip(parts.chains, whole.chains, strict=True):
        assert_same(mine, theirs)
    for name in ("data_energies", "energy_variances", "swap_acceptance", "round_trips"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))


@pytest.mark.slow
def test_f_at_the_training_inputs_is_dropped_where_a_long_sampling_has_none(tmp_path, monkeypatch):
    posterior = POSTERIORS["sampled"]
    monkeypatch.setattr(driver, "SERIES_BYTES", 2 * 6 * posterior.y_train.nbytes)
    lengths = [{"num_samples": 6}, {"num_samples": 9}, {"num_samples": 10}]
    first = lnn.sample(posterior, lnn.Split(), **COUNTS, num_samples=6)
    parts, whole = both(tmp_path, posterior, lnn.Split(), lengths)
    assert first.train_outputs is not None and parts.train_outputs is None
    assert_same(parts, whole)


@pytest.mark.slow
def test_what_cannot_go_on_is_refused_in_one_line(tmp_path):
    posterior, saved = POSTERIORS["marginalised"], {"checkpoint": tmp_path / "saved"}
    lnn.sample(posterior, lnn.Split(), **COUNTS, **saved, num_samples=30)
    before = {path: path.read_bytes() for path in saved["checkpoint"].iterdir()}

    def resumed(dynamics=None, **options):
        counts = COUNTS | saved | options
        lnn.sample(posterior, dynamics or lnn.Split(), **counts, resume=True)

    for other in (
        {"thinning": 3}, {"num_warmup": 7}, {"num_warmup": "auto"}, {"num_chains": 3},
        {"key": jax.random.key(6)}, {"dynamics": lnn.Split(step_size=0.3)},
        {"keep_weights": tmp_path / "w.npy"}, {"observables": {"norm": norm}},
    ):  # fmt: skip
        with refuses("is of another run"):
            resumed(num_samples=31, **other)
    with refuses("30 draws of each chain already, and 29 are asked for: write more"):
        resumed(num_samples=29)
    with refuses("30 draws of each chain already, and 20 are asked for"):
        resumed(until=dataclasses.replace(RULE, max_draws=20))
    assert {path: path.read_bytes() for path in saved["checkpoint"].iterdir()} == before


@pytest.mark.slow
def test_errors_that_were_reached_before_are_refused(tmp_path):
    """One long sampling would have had fewer draws."""
    posterior, saved = POSTERIORS["marginalised"], {"checkpoint": tmp_path / "saved"}
    whole = lnn.sample(posterior, lnn.Split(), **COUNTS, until=RULE)
    number = whole.energy.shape[1]
    lnn.sample(posterior, lnn.Split(), **COUNTS, **saved, num_samples=number + 1)
    with refuses(f"{number + 1} draws of each chain already", "errors", f"after {number}:"):
        lnn.sample(posterior, lnn.Split(), **COUNTS, **saved, until=RULE, resume=True)


@pytest.mark.slow
def test_any_number_of_draws_has_slopes_of_a_part_of_those_that_had_some(tmp_path):
    """With 96 draws each fourth, with 144 each eighth; 1,000 and 1,500 could not go on before."""
    lengths = [{"num_samples": number, "thinning": 1} for number in (20, 96, 144)]
    parts, whole = both(tmp_path, POSTERIORS["sampled"], lnn.Langevin(), lengths)
    assert parts.slopes.draws.tolist() == list(range(0, 144, 8))
    assert_same(parts, whole)


@pytest.mark.slow
def test_a_rule_after_a_long_number_has_the_slopes_of_the_number(tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "DEFAULT_SAMPLES", 20)
    lengths = [{"num_samples": 100, "thinning": 1}, {"until": RULE, "thinning": 1}]
    parts, whole = both(tmp_path, POSTERIORS["sampled"], lnn.Langevin(), lengths)
    assert parts.slopes.draws.tolist() == list(range(0, parts.energy.shape[1], 4))
    assert whole.slopes.draws.tolist() == list(range(parts.energy.shape[1]))
    np.testing.assert_array_equal(parts.slopes.test_outputs, whole.slopes.test_outputs[:, ::4])
    assert_same(parts, whole, but=("slopes", "wall_seconds", "last_state", "extendable", "loss"))


SLOPED = COUNTS | {"thinning": 1, "num_samples": 96}
"""Each fourth of these draws has slopes."""


def interrupted(folder, steps=60):
    """The draws of some `steps` in a checkpoint."""

    def interrupt(report):
        if report.steps > steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        options = SLOPED | {"checkpoint": folder, "progress": interrupt}
        lnn.sample(POSTERIORS["sampled"], lnn.Langevin(), **options)


def resumed_and_whole(folder):
    options = [SLOPED | {"checkpoint": folder, "resume": True}, SLOPED]
    return [lnn.sample(POSTERIORS["sampled"], lnn.Langevin(), **each) for each in options]


@pytest.mark.slow
def test_slopes_of_an_earlier_version_are_thinned_to_what_all_draws_have(tmp_path, monkeypatch):
    """It had them of each sixth of 96 draws."""
    with monkeypatch.context() as earlier:
        earlier.setattr(driver, "slope_stride", lambda number, thinning: 6)
        interrupted(tmp_path)
    resumed, whole = resumed_and_whole(tmp_path)
    assert resumed.slopes.draws.tolist() == list(range(0, 96, 12))
    np.testing.assert_array_equal(resumed.slopes.stiffness, whole.slopes.stiffness[:, ::3])
    assert_same(resumed, whole, but=("slopes", "wall_seconds", "last_state", "extendable", "loss"))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [60, 99])
def test_slopes_of_a_version_that_does_not_say_which_draws_they_are_of_are_left_out(
    tmp_path, steps
):
    """After 99 steps no draw that is left has any."""
    interrupted(tmp_path, steps)
    num_saved = 0
    for path in tmp_path.glob("draws-*.npz"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file if name != "chunk/slope_stride"}
        num_saved += len(arrays["energy"])
        np.savez(path, **arrays)
    resumed, whole = resumed_and_whole(tmp_path)
    if steps == 99:
        assert num_saved > 92 and resumed.slopes is None
        np.testing.assert_array_equal(resumed.test_outputs, whole.test_outputs)
        return
    assert resumed.slopes.draws.tolist() == [i for i in range(0, 96, 4) if i >= num_saved]
    last = whole.slopes.stiffness[:, -len(resumed.slopes.draws) :]
    np.testing.assert_array_equal(resumed.slopes.stiffness, last)


@pytest.mark.slow
def test_first_draws_do_not_go_on():
    chains = lnn.sample(POSTERIORS["sampled"], lnn.Split(), **COUNTS, num_samples=6)
    assert draws.Chains.first(dataclasses.replace(chains, extendable=True), 5).extendable is False
