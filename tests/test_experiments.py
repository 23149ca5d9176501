"""The scripts of the experiments run, in their short form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FEW_OPTIMISATIONS

from langevin_nn import config as configuration
from langevin_nn.sweeps.grid import grid

EXPERIMENTS = Path(__file__).parent.parent / "experiments"
SCRIPTS = sorted(EXPERIMENTS.glob("*/run.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.parent.name)
def test_short_form_of_an_experiment(script, tmp_path):
    words = [sys.executable, str(script), "--smoke"]
    if "FOLDER" in script.read_text():
        words.append(str(tmp_path))
    # Of so short a run compilation is the most.
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {FEW_OPTIMISATIONS}",
        # The benchmark's rivals, NumPyro's NUTS and BlackJAX, imply types.
        "JAX_NUMPY_DTYPE_PROMOTION": "standard" if "benchmark" in script.parts else "strict",
    }
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stripe", "benchmark", "tempering", "width_expansion"])
def test_short_forms_leave_what_the_readmes_quote(name):
    """One of the many that share their command line, and those that have their own."""
    kept = (EXPERIMENTS / name / "results.json").read_bytes()
    words = [sys.executable, str(EXPERIMENTS / name / "run.py"), "--smoke"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2 and "--smoke needs a FOLDER" in done.stderr, done.stderr
    assert (EXPERIMENTS / name / "results.json").read_bytes() == kept


@pytest.mark.parametrize(
    "path", sorted(EXPERIMENTS.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.name}"
)
def test_configuration_of_an_experiment(path):
    values = configuration.read(path)
    if "sweep" in values:
        assert len(grid(values, folder=path.parent).points) > 1
    else:
        configuration.from_dict(values)


def test_each_experiment_has_its_readme_and_small_figures():
    for folder in {path.parent for path in EXPERIMENTS.glob("*/*")}:
        assert (folder / "README.md").is_file(), folder
        assert all(figure.stat().st_size < 200_000 for figure in folder.glob("*.png")), folder
