"""posterior.nc: what ArviZ makes of it, of either version, and what is refused on reading."""

import dataclasses
import json
import math
import warnings
from pathlib import Path

import matplotlib
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
    some_config,
    some_theory,
    with_outputs,
)

from langevin_nn.model.losses import Hinge, Logistic, Squared
from langevin_nn.runs.posterior_file import chains_of, load, theories_of, verify
from langevin_nn.runs.summary import TheoryRecord
from langevin_nn.sampling.posterior_tree import SERIES_BYTES, posterior_tree
from langevin_nn.types import InputError

with warnings.catch_warnings():
    # ArviZ 0.23 announces its refactoring at import.
    warnings.simplefilter("ignore", FutureWarning)
    import arviz as az

Y_TRAIN = np.array([1.0, -1.0, 1.0])
GROUPS = {
    "posterior", "posterior_predictive", "log_likelihood", "sample_stats", "observed_data",
    "constant_data",
}  # fmt: skip
BEFORE_1 = az.__version__.startswith("0.")
RNG = np.random.default_rng(2)


def gaussians(*shape):
    return RNG.standard_normal((NUM_CHAINS, NUM_DRAWS, *shape)).astype(np.float32)


def drawn_chains(**changes):
    """Chains of a marginalised read-out: means of a small spread, draws of a large one."""
    changes = {
        "test_outputs": 0.1 * gaussians(NUM_TEST), "test_variances": 1 + gaussians(NUM_TEST) ** 2,
        "test_draws": gaussians(NUM_TEST), "train_outputs": gaussians(3), "temperature": 0.25,
        "loss": Squared(), "acceptance": gaussians() ** 2, "nonfinite": 0 * gaussians(),
        "trajectory_length": 1.5,
    } | changes  # fmt: skip
    return some_chains(**changes)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    """A marginalised run's file."""
    folder = tmp_path_factory.mktemp("run")
    saved(folder, drawn_chains(), {name: some_theory(name) for name in ("one_layer", "matched")})
    return folder / "posterior.nc"


@pytest.fixture
def data(file):
    return az.from_netcdf(file)


# --- what ArviZ makes of it


@pytest.mark.parametrize("call", ["summary", "loo", "trace", "predictive", "concat", "json"])
def test_arviz_works_on_the_file(data, call, tmp_path):
    """FAULTS 1.13 and 5, az.concat: each of these failed, or said other things, in 0.23 or 1.x."""
    matplotlib.use("agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of ArviZ and matplotlib: few draws, their own futures
        if call == "summary":
            table = az.summary(data, var_names=["f", "f_mean"], round_to="none")
            f = data["posterior"]["f"].to_numpy()
            spread = table["sd"].astype(float).to_numpy()
            np.testing.assert_allclose(spread[:NUM_TEST], f.std((0, 1), ddof=1), rtol=1e-6)
            assert max(spread[NUM_TEST:]) < 0.2 < 0.8 < min(spread[:NUM_TEST])
        elif call == "loo":
            found = az.loo(data, pointwise=True)
            assert found.n_data_points == 3 and math.isfinite(float(getattr(found, "elpd_loo", 0)))
        elif call == "trace":
            az.plot_trace(data, var_names=["f", "norm"])
        elif call == "predictive":
            plot = az.plot_ppc if BEFORE_1 else az.plot_ppc_dist
            plot(data)
            plot(data, var_names=["y_test"])
        elif call == "concat":
            both = az.concat(data, data, dim="chain") if BEFORE_1 else _concatenated(data)
            assert both["posterior"]["f"].shape == (2 * NUM_CHAINS, NUM_DRAWS, NUM_TEST)
        elif BEFORE_1:
            data.to_json(tmp_path / "data.json")
            again = az.from_json(tmp_path / "data.json")
            np.testing.assert_array_equal(again.posterior["f"], data.posterior["f"])
            predicted = again.constant_data["theory_predictive_mean"]
            assert predicted.dims == ("theory", "test_point")
        else:
            text = json.dumps({path: node.dataset.to_dict() for path, node in _nodes(data)})
            again = xr.Dataset.from_dict(json.loads(text)["posterior"])
            np.testing.assert_array_equal(again["f"], data["posterior"]["f"])
        matplotlib.pyplot.close("all")


def _nodes(tree):
    return [(path, node) for path, node in tree.subtree_with_keys if path != "."]


def _concatenated(tree):
    """ArviZ 1.x has no `concat`: xarray's, of the groups that have chains."""
    return {
        name: xr.concat([node.dataset] * 2, dim="chain")
        for name, node in _nodes(tree)
        if "chain" in node.dims
    }


def test_the_file_obeys_the_schema(file):
    """By xarray alone: groups and dimensions of ArviZ, attributes on everything that is there."""
    tree = load(file)
    assert set(tree.children) == GROUPS
    assert not tree.dataset.variables, "coordinates of the root would be every group's"
    for node in tree.subtree:
        assert node.attrs["description"] and node.attrs["inference_library"] == "langevin_nn"
        assert node.attrs["run_id"]
        for name, variable in node.dataset.variables.items():
            assert variable.attrs["long_name"] and variable.attrs["description"], name
        for name, variable in node.dataset.data_vars.items():
            assert "draw" not in variable.dims or variable.dims[:2] == ("chain", "draw"), name
            assert set(variable.dims) - set(node.coords) <= {"features_dim_0", "features_dim_1"}
        if node.path not in ("/", "/observed_data", "/constant_data"):
            assert all(v.dims[:2] == ("chain", "draw") for v in node.data_vars.values())
        for value in node.attrs.values():
            assert isinstance(value, str | float)
    for name in ("y_train", "y_test"):
        observed, predicted = (tree[g][name] for g in ("observed_data", "posterior_predictive"))
        assert predicted.dims[2:] == observed.dims and predicted.shape[2:] == observed.shape
    assert set(tree["sample_stats"].data_vars) == {
        "lp", "gibbs_energy", "train_error", "diverging", "acceptance_rate", "nonfinite"
    }  # fmt: skip
    assert tree.attrs["left_out"] == "nothing"


def test_the_numbers_in_the_file(file):
    tree, chains = load(file), drawn_chains()
    temperature = 0.25
    posterior, stats = tree["posterior"], tree["sample_stats"]
    for name in ("f", "f_mean", "f_variance"):
        assert posterior[name].shape == (NUM_CHAINS, NUM_DRAWS, NUM_TEST)
    np.testing.assert_array_equal(stats["lp"], -stats["gibbs_energy"] / np.float32(temperature))
    # f + √T ε of f and the log likelihood of f, at the training inputs, know each other.
    noise = tree["posterior_predictive"]["y_test"] - posterior["f"]
    assert abs(float(noise.std()) / math.sqrt(temperature) - 1) < 5 / math.sqrt(2 * noise.size)
    assert abs(float(noise.mean())) < 5 * math.sqrt(temperature / noise.size)
    assert tree["constant_data"]["temperature"] == temperature
    f = np.zeros((NUM_CHAINS, NUM_DRAWS, 3), np.float32)
    tree = posterior_tree(dataclasses.replace(chains, train_outputs=f), Y_TRAIN, {})
    expected = -0.5 / temperature - 0.5 * math.log(2 * math.pi * temperature)
    np.testing.assert_allclose(tree["log_likelihood"]["y_train"], expected, rtol=1e-6)


def test_several_outputs_are_one_observation():
    several, _ = with_outputs(some_chains(), some_theory("one_layer"))
    y_train = np.eye(2)
    zeros = np.zeros((NUM_CHAINS, NUM_DRAWS, 2, 2), np.float32)
    chains = dataclasses.replace(several, train_outputs=zeros, temperature=2.0, loss=Squared())
    tree = posterior_tree(chains, y_train, {})
    likelihood = tree["log_likelihood"]["y_train"]
    assert likelihood.dims == ("chain", "draw", "train_point")
    np.testing.assert_allclose(likelihood, -0.5 / 2 - math.log(4 * math.pi), rtol=1e-6)
    predicted = tree["posterior_predictive"]["y_train"]
    assert predicted.dims == ("chain", "draw", "train_point", "output")


@pytest.mark.parametrize(
    ("loss", "energies"),
    [(Hinge(power=1), [0.5, 1.5]), (Logistic(), np.log1p(np.exp([-0.5, 0.5])))],
    ids=["hinge", "logistic"],
)
def test_other_losses_have_weights_and_no_predictive_density(loss, energies):
    f = np.full((NUM_CHAINS, NUM_DRAWS, 3), 0.5, np.float32)
    chains = some_chains(train_outputs=f, temperature=0.5, loss=loss)
    tree = posterior_tree(chains, Y_TRAIN, {})
    expected = -2 * np.array(energies)[[0, 1, 0]]
    likelihood = tree["log_likelihood"]["y_train"]
    np.testing.assert_allclose(likelihood[0, 0], expected, rtol=1e-6)
    assert loss.name in likelihood.attrs["description"]
    assert "posterior_predictive" not in tree.children
    assert "posterior_predictive" in tree.attrs["left_out"]
    assert chains_of(tree).loss == loss


def test_what_is_left_out_is_said(monkeypatch):
    most = 4 * NUM_CHAINS * NUM_DRAWS * 3
    monkeypatch.setattr("langevin_nn.sampling.posterior_tree.SERIES_BYTES", most)
    tree = posterior_tree(drawn_chains(), Y_TRAIN, {})
    assert set(tree["posterior_predictive"].data_vars) == {"y_train"}, "y_test is larger"
    assert "posterior_predictive y_test" in tree.attrs["left_out"]
    tree = posterior_tree(some_chains(temperature=0.1, loss=Squared()), Y_TRAIN, {})
    assert "log_likelihood" not in tree.children and "log_likelihood" in tree.attrs["left_out"]
    assert SERIES_BYTES == 128e6, "as docs/reference/files.md says"


def test_observables_do_not_replace_what_is_there():
    chains = some_chains(observables={"f_mean": np.zeros((NUM_CHAINS, NUM_DRAWS))})
    with pytest.raises(InputError, match='an observable cannot have the name "f_mean"'):
        posterior_tree(chains, Y_TRAIN, {})


# --- and back


def test_a_marginalised_run_comes_back(tmp_path):
    chains = drawn_chains()
    again, _ = saved(tmp_path, chains, {}).load_results()
    assert_same(again, dataclasses.replace(chains, train_outputs=None))
    np.testing.assert_array_equal(again.f, chains.test_draws)


def test_control_variates_of_several_outputs_come_back(tmp_path):
    chains = some_chains(
        test_outputs=gaussians(2, 2), test_variances=gaussians(2) ** 2,
        test_draws=gaussians(2, 2), control_variates=gaussians(3, 2, 2), y_test=np.eye(2),
    )  # fmt: skip
    again, _ = saved(tmp_path, chains, {}, np.ones((3, 2))).load_results()
    assert_same(again, chains)


def earlier(tree: xr.DataTree) -> xr.DataTree:
    """The tree as versions before wrote it."""
    groups = {name: tree[name].to_dataset() for name in GROUPS & set(tree.children)}
    posterior, constant = groups["posterior"], groups["constant_data"]
    if "f_mean" in posterior:
        posterior = posterior.drop_vars("f").rename(f_mean="f")
    stats = groups["sample_stats"].drop_vars("lp")
    names = {"gibbs_energy": "energy", "acceptance_rate": "acceptance"}
    predicted = [name for name in constant.data_vars if name.startswith("theory_")]
    theory = constant[predicted].rename({name: name.removeprefix("theory_") for name in predicted})
    found = {
        "posterior": posterior.assign_attrs(thinning=7).drop_attrs(deep=False),
        "sample_stats": stats.rename({a: b for a, b in names.items() if a in stats}),
        "observed_data": groups["observed_data"][["y_train"]],
        "constant_data": constant[["y_test", "targets_midpoint"]],
        "theory": theory,
    }
    found["posterior"].attrs = {"sampling_time": 12.5, "thinning": 7}
    return xr.DataTree.from_dict({f"/{name}": group for name, group in found.items()})


@pytest.mark.parametrize("marginalised", [True, False])
def test_files_of_earlier_versions_come_back(tmp_path, marginalised):
    chains = drawn_chains() if marginalised else some_chains(temperature=0.1)
    folder = saved(tmp_path, chains, {"one_layer": some_theory("one_layer")})
    content = earlier(load(tmp_path / "posterior.nc")).to_netcdf(engine="h5netcdf")
    (tmp_path / "posterior.nc").write_bytes(content)
    again, theories = folder.load_results()
    unknown = {"test_draws": None, "train_outputs": None, "temperature": None, "loss": None}
    assert_same(again, dataclasses.replace(chains, **unknown))
    assert_same(theories["one_layer"], some_theory("one_layer"))


# --- what is refused


def changed(tree, group, name, values):
    """The tree with other values of one variable."""
    dataset = tree[group].to_dataset()
    dataset[name] = dataset[name].copy(data=values)
    tree[group] = xr.DataTree(dataset)


def nan_in(tree, group, name):
    values = tree[group][name].to_numpy().copy()
    values.flat[-1] = np.nan
    changed(tree, group, name, values)


MEDDLING = {
    "another run": (lambda t: t.attrs.update(run_id="0123456789ab"), "of the run 0123456789ab"),
    "other counts": (
        lambda t: t.update(
            {g: xr.DataTree(t[g].to_dataset().isel(draw=slice(9))) for g in GROUPS
             if "draw" in t[g].dims}
        ),
        "has 9 as its number of draw, and the run 20",
    ),
    "f not finite": (lambda t: nan_in(t, "posterior", "f"), "f has values that are not finite"),
    "an error not finite": (lambda t: nan_in(t, "sample_stats", "train_error"), "train_error has"),
    "a target not finite": (lambda t: nan_in(t, "observed_data", "y_train"), "y_train has values"),
    "a group less": (lambda t: t.__delitem__("sample_stats"), "lacks the group sample_stats"),
    "no f": (
        lambda t: t.update({"posterior": xr.DataTree(t["posterior"].to_dataset()[["norm"]])}),
        "f and y_test do not fit",
    ),
    "controls of more outputs": (
        lambda t: t.update({"sample_stats": xr.DataTree(t["sample_stats"].to_dataset().assign(
            control_variates=(
                ("chain", "draw", "control", "test_point", "output"), gaussians(3, NUM_TEST, 2)
            )
        ))}),
        "control_variates and f do not fit",
    ),
    "text for thinning": (lambda t: t["posterior"].attrs.update(thinning="seven"), "thinning"),
    "a theory less": (
        lambda t: t.update(
            {"constant_data": xr.DataTree(t["constant_data"].to_dataset().isel(theory=[]))}
        ),
        "lacks the theory one_layer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MEDDLING)
def test_what_is_not_the_runs_is_refused(what):
    """FAULTS 1.12."""
    theories = {"one_layer": some_theory("one_layer")}
    config = some_config(3, NUM_TEST)
    tree = posterior_tree(drawn_chains(), Y_TRAIN, theories, config.content_hash)
    stored = {name: TheoryRecord.of(theory) for name, theory in theories.items()}

    def read():
        verify(tree, config, config.content_hash)
        chains_of(tree)
        theories_of(tree, stored)

    read()
    meddle, words = MEDDLING[what]
    meddle(tree)
    with pytest.raises(ValueError, match=words) as refusal:
        read()
    assert "\n" not in str(refusal.value)


def test_the_file_of_another_run_of_the_same_shapes_is_refused(tmp_path):
    """FAULTS 1.12."""
    folder = saved(tmp_path, drawn_chains(), {"one_layer": some_theory("one_layer")})
    folder.save_posterior(drawn_chains(), Y_TRAIN, {}, "0123456789ab")
    with pytest.raises(InputError, match="posterior.nc .*of the run 0123456789ab, and the folder"):
        folder.load_results()


def test_chains_that_diverged_are_named(tmp_path):
    """And stored as they are; numbers too large for the precision are infinite, without a word."""
    f, energy = gaussians(NUM_TEST), gaussians() ** 2
    f[1, 5:], energy[1, 5:], energy[1, 4] = np.nan, np.inf, 3e38
    at_train = gaussians(3)
    at_train[1, 4:] = 1e19
    chains = some_chains(
        test_outputs=f, energy=energy, train_outputs=at_train, temperature=1e-3, loss=Squared()
    )
    folder = saved(tmp_path, chains, {})
    tree = load(tmp_path / "posterior.nc")
    assert tree.attrs["diverged"] == "chains [1]: leave them out, with .sel(chain=[0, 2])"
    assert np.isfinite(tree["log_likelihood"]["y_train"].sel(chain=[0, 2])).all()
    again, _ = folder.load_results()
    assert again.diverged.tolist() == [False, True, False]


@pytest.mark.slow_except("True-10")
@pytest.mark.parametrize("number", [10, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("checksums", [True, False])
def test_flipped_bytes_are_refused_in_one_line(tmp_path, checksums, number):
    """FAULTS 1.12, 3.6: or they are no draws'. Files of earlier versions have no checksums."""
    chains = drawn_chains()
    folder = saved(tmp_path, chains, {"one_layer": some_theory("one_layer")})
    path = tmp_path / "posterior.nc"
    content = path.read_bytes()
    if not checksums:
        content = bytes(load(path).to_netcdf(engine="h5netcdf"))
    rng = np.random.default_rng(0)
    stretches = np.linspace(0, len(content), number + 1, dtype=int)
    for place in rng.integers(stretches[:-1], stretches[1:]):
        damaged = bytearray(content)
        damaged[place : place + 8] = rng.bytes(8)
        path.write_bytes(damaged)
        try:
            again, _ = folder.load_results()
        except InputError as error:
            assert "\n" not in str(error) and "cannot read" in str(error)
            continue
        if checksums:
            assert_same(again, dataclasses.replace(chains, train_outputs=None))


@pytest.mark.parametrize(
    "theory",
    [[], {"one_layer": []}, {"one_layer": {"bias2": "0.1"}}, {"one_layer": None}, 3],
)
def test_a_summary_of_other_types_is_refused_in_one_line(tmp_path, theory):
    """FAULTS 3.6."""
    folder = saved(tmp_path, drawn_chains(), {"one_layer": some_theory("one_layer")})
    summary = json.loads((tmp_path / "summary.json").read_text()) | {"theory": theory}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(InputError, match="cannot read .*summary.json") as refusal:
        folder.load_results()
    assert "\n" not in str(refusal.value)
