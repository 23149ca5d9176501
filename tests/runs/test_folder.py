"""What is stored comes back: posterior.nc in the ArviZ schema, the summary, the figures' input."""

import dataclasses
import json
import math

import numpy as np
import pytest
import xarray as xr
from run_cases import (
    NUM_CHAINS,
    NUM_DRAWS,
    NUM_TEST,
    assert_same,
    saved,
    some_chains,
    some_theory,
    with_outputs,
)

from langevin_nn.analysis.generalisation import summarise
from langevin_nn.files import write_arrays, write_atomically, write_text
from langevin_nn.runs.folder import chains_of, posterior_tree
from langevin_nn.runs.summary import Experiment, Summary
from langevin_nn.sampling.base import Settings
from langevin_nn.sampling.engine.checkpoint import Checkpoint, EngineProgress
from langevin_nn.sampling.engine.chunks import Buffer
from langevin_nn.sampling.engine.identity import Identity
from langevin_nn.types import Estimate, InputError


@pytest.mark.parametrize("names", [["one_layer", "infinite_width"], []])
def test_chains_and_theories_come_back(tmp_path, names):
    chains = some_chains()
    theories = {name: some_theory(name, 0.1 + len(name) / 100) for name in names}
    again, others = saved(tmp_path, chains, theories).load_results()
    assert_same(again, chains)
    assert others.keys() == theories.keys()
    for name, theory in theories.items():
        assert_same(others[name], theory)


def test_several_outputs_come_back(tmp_path):
    chains, theory = with_outputs(some_chains(), some_theory("one_layer"))
    y_train = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    again, others = saved(tmp_path, chains, {"one_layer": theory}, y_train).load_results()
    assert_same(again, chains)
    assert_same(others["one_layer"], theory)
    with xr.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as tree:
        assert tree["posterior"]["f"].dims == ("chain", "draw", "test_point", "output")
        assert tree["constant_data"]["y_test"].dims == ("test_point", "output")
        assert tree["observed_data"]["y_train"].dims == ("train_point", "output")
        predicted = tree["constant_data"]["theory_predictive_mean"]
        assert predicted.dims == ("theory", "test_point", "output")


def test_tree_in_memory_comes_back():
    chains = some_chains(observables={})
    assert_same(chains_of(posterior_tree(chains, np.ones(2), {})), chains)


def test_chains_that_diverged_come_back_as_such(tmp_path):
    outputs = some_chains().test_outputs.copy()
    outputs[1, 5:] = np.nan
    energy = some_chains().energy.copy()
    energy[1, 5:] = np.inf
    chains = some_chains(test_outputs=outputs, energy=energy)
    folder = saved(tmp_path, chains, {})
    again, _ = folder.load_results()
    assert again.diverged.tolist() == [False, True, False]
    assert folder.load_summary().experiment.diverged_chains == 1
    with xr.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as tree:
        flags = tree["sample_stats"]["diverging"].to_numpy()
    assert flags.sum() == NUM_DRAWS - 5 and flags[1, 5:].all()


def test_numbers_that_do_not_exist_are_null(tmp_path):
    """JSON has no NaN: the summary stays readable, and the theory says that it failed."""
    theory = dataclasses.replace(
        some_theory("one_layer"), bias2=Estimate(math.nan), order_parameters=(math.inf,),
        log_evidence=-math.inf,
    )  # fmt: skip
    folder = saved(tmp_path, some_chains(), {"one_layer": theory})
    text = (tmp_path / "summary.json").read_text()
    stored = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert stored["theory"]["one_layer"]["bias2"] is None
    assert stored["theory"]["one_layer"]["order_parameters"] == [None]
    assert stored["theory"]["one_layer"]["log_evidence"] is None
    _, theories = folder.load_results()
    assert math.isnan(theories["one_layer"].bias2.value)


def test_constant_chains_have_a_summary(tmp_path):
    """No variance: the relative bias of the step size does not exist, and nothing divides by 0."""
    chains = some_chains(test_outputs=np.ones((NUM_CHAINS, NUM_DRAWS, NUM_TEST), np.float32))
    measured = summarise(chains)
    stored = Experiment.of(measured, chains)
    assert stored.step_size_relative_bias is None
    assert stored.converged is False
    assert stored.constant == (
        "bias2",
        "variance",
        "generalisation_error",
        "f at 4 of 4 test points",
    )


def test_shifts_that_are_not_known_are_stored(tmp_path):
    """And read again; an earlier version's summary has no word of them."""
    chains = some_chains()
    measured = summarise(chains)
    summary = Summary(experiment=Experiment.of(measured, chains), theory={})
    stored = json.loads(json.dumps(summary.to_json()))
    assert stored["experiment"]["step_size_bias"]["variance"] == {"value": None, "mcse": None}
    again = Summary.from_json(stored).experiment
    assert again.step_size_message == measured.step_size_bias.message != ""
    assert again.step_size_relative_bias is None
    assert again.step_size_bias.unknown == measured.step_size_bias.unknown
    for name in ("step_size_bias", "step_size_message"):
        del stored["experiment"][name]
    stored["experiment"]["step_size_relative_bias"] = 0.01
    earlier = Summary.from_json(stored).experiment
    assert earlier.step_size_bias is None and earlier.step_size_relative_bias == 0.01
    adjusted = some_chains(acceptance=np.ones((NUM_CHAINS, NUM_DRAWS)))
    without = Experiment.of(summarise(adjusted), adjusted)
    assert without.step_size_message == "" and without.step_size_bias is None


def test_atomic_writes_leave_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "numbers.json"
    write_text(path, "λ = 1\n")
    assert path.read_bytes() == "λ = 1\n".encode()

    def half(temporary):
        assert temporary.parent == path.parent and temporary != path
        temporary.write_text("hal")
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, half)
    assert path.read_text() == "λ = 1\n"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_arrays_are_stored_without_pickles(tmp_path):
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3, dtype=np.float32), "y": np.array("text")})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["x"].dtype == np.float32 and str(file["y"]) == "text"
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "b.npz", {"x": np.array([object()])})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


# --- damaged files


def flips(path, number):
    """Let a byte of the file be another, `number` times, each time in the file as it was."""
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(content), size=number):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        yield place
    for length in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        yield -length
    path.write_bytes(content)


def loaded(function, *words):
    """What it returns, or None where it refuses the file in one line."""
    try:
        return function(*words)
    except InputError as error:
        assert "cannot " in str(error) and "\n" not in str(error) and "--overwrite" in str(error)
        return None


@pytest.mark.parametrize("number", [40, pytest.param(800, marks=pytest.mark.slow)])
@pytest.mark.parametrize("is_sealed", [True, False])
def test_flipped_bits_of_a_finished_run(tmp_path, number, is_sealed):  # FAULTS 3.6
    """Refused, or read as they were; without checksums, as before they existed, refused or read."""
    folder = saved(tmp_path, some_chains(), {"one_layer": some_theory("one_layer")})
    if is_sealed:
        folder.finish(folder.load_manifest(), folder.load_summary())
    config, summary, manifest = folder.load_config(), folder.load_summary(), folder.load_manifest()
    refused = 0
    for name in ("config.toml", "summary.json", "manifest.json"):
        for place in flips(tmp_path / name, number):
            found = [loaded(f) for f in (folder.load_config, folder.load_summary)]
            found.append(loaded(folder.load_manifest))
            refused += None in found
            if is_sealed:
                assert found[0] in (None, config), (name, place)
                assert repr(found[1]) in ("None", repr(summary)), (name, place)  # NaN is no NaN
                if found[2] is not None:  # the key of the checksum is another
                    assert {**found[2], **manifest} == found[2], (name, place)
    assert refused > 3 * number / 4 or not is_sealed
    assert loaded(folder.load_config) == config


@pytest.mark.parametrize("number", [60, pytest.param(800, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["state.npz", "draws-00000000.npz", "draws-00000003.npz"])
def test_flipped_bits_of_a_checkpoint(tmp_path, number, name):  # FAULTS 3.6
    rng = np.random.default_rng(0)
    state = {"w": rng.random((2, 5)), "steps": np.arange(3)}
    chunks = [{"energy": rng.random((n, 2)), "f": rng.random((n, 2, 4))} for n in (3, 2)]
    saved_here = Checkpoint(tmp_path, Identity("0123"))
    numbers = [Settings(0.5)]
    slopes = {"stiffness": rng.random((1, 2))}
    saved_here.save(state, EngineProgress(3, 3, 2.0, numbers), Buffer(chunks[0], slopes))
    saved_here.save(state, EngineProgress(5, 5, 2.0, numbers), Buffer(chunks[1], slopes))

    def assert_whole(found):
        again, *progress, draws, _ = found
        assert progress == [5, 5, [{"step_size": 0.5, "seconds": 2.0}]] and len(draws) == 2
        recorded = [part for chunk in draws for part in (chunk.draws, chunk.slopes)]
        stored = [chunks[0], slopes, chunks[1], slopes]
        for mine, theirs in zip([again, *recorded], [state, *stored], strict=True):
            assert mine.keys() == theirs.keys()
            assert all(np.array_equal(mine[key], theirs[key]) for key in theirs)

    refused = 0
    for _ in flips(tmp_path / name, number):
        found = loaded(saved_here.load, lambda _: state)
        refused += found is None
        if found is not None:
            assert_whole(found)
    assert refused > number / 2
    assert_whole(saved_here.load(lambda _: state))
