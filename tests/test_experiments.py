"""The scripts of the experiments run, in their short form."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import FEW_OPTIMISATIONS

from langevin_nn import config as configuration
from langevin_nn.sweeps.grid import grid

ROOT = Path(__file__).parent.parent
EXPERIMENTS = ROOT / "experiments"
SCRIPTS = sorted(EXPERIMENTS.glob("*/__main__.py"))


def run(name, *words, cwd=ROOT, **environment):
    """`python -m experiments.NAME WORDS`."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", f"experiments.{name}", *map(str, words)],
        cwd=cwd, env=os.environ | {"PYTHONPATH": path} | environment,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.exhaustive_except("benchmark", "depth", "prior_sweep", "tempering")
@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
def test_short_form_of_an_experiment(script, tmp_path):
    name = script.parent.name
    done = run(
        name, "--smoke", *[tmp_path] * ("FOLDER" in script.read_text()), cwd=tmp_path,
        # Of so short a run compilation is the most.
        XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} {FEW_OPTIMISATIONS}",
        # The benchmark's rivals, NumPyro's NUTS and BlackJAX, imply types.
        JAX_NUMPY_DTYPE_PROMOTION="standard" if name == "benchmark" else "strict",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3
    for figure in script.parent.glob("*.png"):
        assert (tmp_path / figure.name).stat().st_size > 1000, figure
    if (script.parent / "results.json").exists():
        found = json.loads((tmp_path / "results.json").read_text())
        has_the_form_of(found, json.loads((script.parent / "results.json").read_text()))


def has_the_form_of(found, kept):
    """What is measured is what the results in the repository have, and of it there are numbers."""
    datasets = [
        name for name, part in kept.items() if isinstance(part, dict) and "data_vars" in part
    ]
    assert set(datasets) <= set(found) <= set(kept), set(found) ^ set(kept)
    for name in datasets:
        for part in ("coords", "data_vars"):
            for variable, there in kept[name][part].items():
                here = found[name][part][variable]
                assert here["dims"] == there["dims"], (name, variable)
                assert has_numbers(here["data"]) or not has_numbers(there["data"]), (name, variable)


def has_numbers(data):
    if isinstance(data, list):
        return any(map(has_numbers, data))
    return data is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stripe", "benchmark"])
def test_short_forms_leave_what_the_readmes_quote(name):
    """One of the many that share their command line, and the one that has its own."""
    kept = (EXPERIMENTS / name / "results.json").read_bytes()
    done = run(name, "--smoke")
    assert done.returncode == 2 and "--smoke needs a FOLDER" in done.stderr, done.stderr
    assert (EXPERIMENTS / name / "results.json").read_bytes() == kept


@pytest.mark.slow_except(
    "accuracy/cifar10_relu.toml",
    "accuracy/colour.toml",
    "accuracy/config.toml",
    "accuracy/full.toml",
    "bayes_triple_descent/config.toml",
    "cifar10/config.toml",
    "convolution/config.toml",
    "convolution/full.toml",
    "deep_linear/config.toml",
    "deep_linear/full.toml",
    "depth/config.toml",
    "depth/full.toml",
    "digits/config.toml",
    "digits/split.toml",
    "double_descent/config.toml",
    "double_descent/full.toml",
    "jamming_temperature/config.toml",
    "mnist/config.toml",
    "nonodd/config.toml",
    "phase_diagram/cifar10.toml",
    "phase_diagram/config.toml",
    "posterior_vs_flow/config.toml",
    "posterior_vs_flow/full.toml",
    "prior_sweep/config.toml",
    "prior_sweep/full.toml",
    "student_t/config.toml",
    "temperature/config.toml",
    "tempering/config.toml",
    "validity_map/another_split.toml",
    "validity_map/cifar10_erf.toml",
    "validity_map/cifar10_relu.toml",
    "validity_map/config.toml",
    "validity_map/full.toml",
    "validity_map/mnist_relu.toml",
    "validity_map/p200.toml",
    "width_expansion/config.toml",
    "width_expansion/low_temperature.toml",
    "width_expansion/mnist.toml",
    "width_sweep/config.toml",
    "width_sweep/full.toml",
)
@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_configuration_of_an_experiment(path):
    values = configuration.read(path)
    if "sweep" in values:
        beside_config = path.name == "cifar10_relu.toml"  # a point to those of config.toml
        assert len(grid(values, folder=path.parent).points) >= (1 if beside_config else 2)
    else:
        configuration.from_dict(values)


def test_each_experiment_has_its_readme_and_small_figures():
    folders = {path.parent for path in EXPERIMENTS.glob("*/*")}
    for folder in folders - {EXPERIMENTS / "__pycache__"}:
        assert (folder / "README.md").is_file(), folder
        assert all(figure.stat().st_size < 200_000 for figure in folder.glob("*.png")), folder


def test_collected_points_stand_beside_those_that_are_kept(monkeypatch):
    """Of the accuracies: a point done here, one that was, and one whose settings were others."""

    monkeypatch.syspath_prepend(ROOT)
    with_earlier = importlib.import_module("experiments.accuracy.__main__").with_earlier

    def points(status, digest, value, theory):
        found = {"status": status, "point": digest, "bias2": value}
        return xr.Dataset(
            {name: ("size", list(values)) for name, values in found.items()}
            | {"theory_bias2": (("size", "theory"), theory), "theory_ok": (("size", "theory"),
               [[True], [False], [True]])},
            coords={"size": [1, 2, 3], "theory": ["one"]},
        )  # fmt: skip

    earlier = points(["done"] * 3, "abc", [1.0, 2.0, 3.0], [[0.1], [0.2], [0.3]])
    here = points(
        ["done", "missing", "missing"], "abd", [9.0, np.nan, np.nan], np.full((3, 1), 0.9)
    )
    found = with_earlier(here.assign(new=here.bias2), earlier)
    assert found.status.values.tolist() == ["done", "done", "missing"]
    np.testing.assert_array_equal(found.bias2, [9.0, 2.0, np.nan])
    np.testing.assert_array_equal(found.theory_bias2, [[0.9], [0.2], [0.9]])
    assert found.theory_ok.dtype == bool and "new" not in found
    nothing = here.assign(status=("size", ["missing"] * 3)).isel(theory=[])
    xr.testing.assert_identical(with_earlier(nothing, earlier), earlier)


def test_which_theory_where(monkeypatch):
    """The guide of the validity map, of two maps of one width each, whose deviations are given."""
    monkeypatch.syspath_prepend(ROOT)
    agreement = importlib.import_module("experiments.validity_map.agreement")

    def made_map(width, theories, off, criteria, converged=(True, True)):
        """Two λ_1; the variance is `off` per cent from each theory, bias² half as much."""
        axes = ("network.hidden_widths[0]", "prior.precisions[-1]")
        share = 1 + np.array(off)[None] / 100
        one, along = np.ones((1, 2)), (*axes, "theory")
        return xr.Dataset(
            {
                "bias2": (axes, one), "variance": (axes, one), "bias2_mcse": (axes, 0.01 * one),
                "variance_mcse": (axes, 0.01 * one), "converged": (axes, np.array([converged])),
                "criterion": (axes, np.array([criteria])),
                "theory_bias2": (along, 1 / (1 + (share - 1) / 2)),
                "theory_variance": (along, np.where(share > 0, 1 / share, -1.0)),
                "theory_bias2_mcse": (along, 0 * share), "theory_variance_mcse": (along, 0 * share),
                "theory_converged": (along, np.isfinite(share)),
            },
            coords={axes[0]: [width], axes[1]: [0.1, 1.0], "theory": theories},
            attrs={"num_train": 50},
        )  # fmt: skip

    narrow = made_map(10, ["one_layer", "adaptive"], [[8.0, -1.0], [-4.0, np.nan]], [0.5, 2.0])
    other = made_map(10, ["one_layer", "matched"], [[3.0, -300.0], [1.0, 1.5]], [0.6, 30.0])
    trapped = made_map(500, ["one_layer"], [[1.0], [-50.0]], [0.5, 0.5], (True, False))
    maps = {"narrow": narrow, "other": other, "trapped": trapped}
    table = agreement.guide(maps)
    few = table.isel(ratio=0)
    assert few.points.sel(theory="one_layer").values.tolist() == [2, 1, 1]
    assert few.converged.sel(theory="adaptive").values.tolist() == [1, 0, 0]
    # In the first range 8 % and 3 %, the median between; a negative variance is no number.
    np.testing.assert_allclose(few["median"].sel(theory="one_layer"), [5.5, 4.0, 1.0])
    np.testing.assert_allclose(few.worst.sel(theory="one_layer"), [8.0, 4.0, 1.0])
    np.testing.assert_allclose(few.worst.sel(theory="matched"), [np.inf, np.nan, 1.5])
    many = table.isel(ratio=-1).sel(theory="one_layer")
    assert many.points.values.tolist() == [1, 0, 0] and float(many.worst[0]) == pytest.approx(1.0)
    # adaptive was asked at one of the two points of the first range, and found nothing at the next.
    rows = agreement.guide_table(table).splitlines()[2:]
    assert rows == [
        "| < 0.3 | < 1 | 2 | – | – | `one_layer` (5.5, 8.0) |",
        "| < 0.3 | 1 to 10 | 1 | – | `one_layer` | `one_layer` (4.0, 4.0) |",
        "| < 0.3 | ≥ 10 | 1 | `one_layer` | `one_layer` | `one_layer` (1.0, 1.0) |",
        "| ≥ 10 | < 1 | 1 | `one_layer` | `one_layer` | `one_layer` (1.0, 1.0) |",
    ]
    (_, _, first, second) = agreement.agreement_table(narrow).splitlines()
    assert first.startswith("| one_layer | 2 of 2 | 3.0, 4.0 | 6.0, 8.0 | 0 of 0 |")
    assert second.startswith("| adaptive | 1 of 2 | 0.5, 0.5 | 1.0, 1.0 | 0 of 0 |")
    assert "negative" in agreement.agreement_table(other).splitlines()[-1]


PARALLEL = """
import jax
from experiments.common import processes
with processes(2) as pool:
    print([pool.submit(jax.device_count).result() for _ in range(2)])
"""


@pytest.mark.slow
def test_processes_of_an_experiment_have_one_device_each():
    environment = {k: v for k, v in os.environ.items() if k != "JAX_NUM_CPU_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", PARALLEL], cwd=ROOT, env=environment, capture_output=True,
        text=True, timeout=300,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "[1, 1]\n"), done.stderr
