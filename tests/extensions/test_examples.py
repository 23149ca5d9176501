"""One complete example of each kind: in a run, in a sweep of processes, in a report, in its law."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import TINY, ensemble_of, small_task
from command_line import CommandLine
from refusals import says

import langevin_nn as lnn
from langevin_nn import config as configuration
from langevin_nn.runs import run
from langevin_nn.sweeps import results
from langevin_nn.theory import infinite_width

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXAMPLES = {
    "activation_laplace": {"network.activation": "activation_laplace:laplace"},
    "dynamics_barker": {"sampler.dynamics": "dynamics_barker:Barker"},
    "network_skip": {
        "network.architecture": "network_skip:SkipNetwork",
        "network.hidden_widths": ["3", "3"],
    },
    "loss_huber": {"posterior.loss": "loss_huber:Huber"},
    "source_stripes": {"data.source": "source_stripes:stripes"},
    "theory_shrunk": {"theory": ["theory_shrunk:shrunk"]},
    "theory_mixed": {"theory": ["one_layer", "theory_mixed:mixture", "theory_mixed:MIXED"]},
}


@pytest.fixture
def folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys)


def words_of(values):
    return [
        word
        for name, value in values.items()
        for word in (f"--{name}", *(value if isinstance(value, list) else [value]))
    ]


@pytest.mark.parametrize("name", [*EXAMPLES, "experiment_width"])
def test_an_example_is_short_and_stands_in_the_documentation(name):
    text = (HERE / f"{name}.py").read_text()
    assert len(text.splitlines()) <= 40
    assert text in (ROOT / "docs/extending.md").read_text()


@pytest.mark.slow_except(
    "dynamics_barker", "loss_huber", "source_stripes", "theory_shrunk", "theory_mixed"
)
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_in_python(name, folder):
    """The module is beside the configuration; what is made of it is the user's own."""
    shutil.copy(HERE / f"{name}.py", ".")
    overrides = {k: v if isinstance(v, list) else [v] for k, v in EXAMPLES[name].items()}
    problem = run.prepare(configuration.load(Path("tiny.toml"), overrides))
    assert [module.name for module in problem.modules] == [name]
    if name == "loss_huber":
        assert problem.posterior.loss.name == "huber"
        return
    predictions = run.expect(problem)
    assert all(result.converged for result in predictions.results.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_from_the_command_line_with_its_report(name, folder):
    shutil.copy(HERE / f"{name}.py", ".")
    answer = folder("run", "tiny.toml", *words_of(EXAMPLES[name]), "--output", "out")
    assert answer.code == 3, answer.err  # so short that it has not converged
    Path(f"{name}.py").unlink()
    assert folder("report", "out").code == 0
    page = Path("out/report.html").read_text()
    for value in EXAMPLES[name].values():
        for word in value if isinstance(value, list) else [value]:
            assert word in page


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_in_a_sweep_of_processes(name, folder):
    """The workers find it in the sweep's folder, from where no such module is to be seen."""
    (folder.folder / "home").mkdir()
    shutil.copy(HERE / f"{name}.py", "home")
    Path("home/tiny.toml").write_text(TINY)
    answer = folder(
        "sweep", "home/tiny.toml", *words_of(EXAMPLES[name]), "--seeds", "2", "--output", "out",
        "--executor", "local", "--workers", "2",
    )  # fmt: skip
    assert answer.code == 3 and "2 points: 2 done" in answer.out, answer.err
    assert (results.load(Path("out/results.nc")).status == "done").all()
    shutil.rmtree("home")
    assert folder("report", "out").code == 0
    assert "2 done" in folder("sweep", "--status", "out").out


def test_the_mixture_is_one(folder):
    """Its variance is that of draws from either theory."""
    shutil.copy(HERE / "theory_mixed.py", ".")
    problem = run.prepare(
        configuration.load(Path("tiny.toml"), {"theory": EXAMPLES["theory_mixed"]["theory"]})
    )
    ensemble = problem.posterior.ensemble
    parts = [theory(ensemble) for theory in (lnn.theory.infinite_width, lnn.theory.one_layer)]
    found = run.expect(problem).results["theory_mixed:MIXED"]
    means, variances = (
        np.array([getattr(part, f"predictive_{name}") for part in parts])
        for name in ("mean", "variance")
    )
    np.testing.assert_allclose(found.predictive_mean, means.mean(axis=0), rtol=1e-12)
    expected = (variances + means**2).mean(axis=0) - means.mean(axis=0) ** 2
    np.testing.assert_allclose(found.predictive_variance, expected, rtol=1e-12)


def test_stripes_are_what_they_are_called(folder):
    data = lnn.load_dataset(
        "extensions.source_stripes:stripes", key=jax.random.key(0), num_train=50, num_test=20,
        in_size=2, standardize=False,
    )  # fmt: skip
    expected = np.where(np.floor(data.x_train[:, 0]) % 2 == 0, 1.0, -1.0)
    np.testing.assert_array_equal(data.y_train, expected)
    more = lnn.load_dataset(
        "extensions.source_stripes:stripes", key=jax.random.key(0), num_train=60, num_test=20,
        in_size=2, standardize=False,
    )  # fmt: skip
    np.testing.assert_array_equal(more.x_test, data.x_test)


@pytest.mark.slow
def test_the_experiment_measures_draws_and_prints(folder, tmp_path):
    """In a process of its own: the package of the experiments sets JAX up before it computes."""
    words = [sys.executable, str(HERE / "experiment_width.py"), "--smoke", "."]
    subprocess.run(words, cwd=tmp_path, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert {"widths.png", "results.json"} <= folder.files()


def test_a_theory_with_its_solution_has_derivatives_and_a_distribution():
    data = small_task()
    own = "extensions.theory_shrunk:shrunk"
    ensemble = ensemble_of(data, (10,), precisions=(1.0, 2.0))
    wide = ensemble.at(prior_precisions=(1.0, 4.0))
    found, same = (
        lnn.theory.evidence(e, t) for e, t in ((ensemble, own), (wide, "infinite_width"))
    )
    assert found.log_evidence == same.log_evidence
    np.testing.assert_allclose(found.temperature_gradient, same.temperature_gradient)
    np.testing.assert_allclose(found.precision_gradient[1], 2 * same.precision_gradient[1])
    law = lnn.theory.predictive_distribution(ensemble, data.x_test, own)
    np.testing.assert_array_equal(law.mean, infinite_width(wide).predictive_mean)


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--smoke", "--draw"])
def test_an_experiment_that_cannot_be_done_says_so_in_one_line(option, tmp_path):
    text = (HERE / "experiment_width.py").read_text()
    (tmp_path / "own.py").write_text(text.replace("teacher_linear", "not_there:load"))
    left = subprocess.run(
        [sys.executable, "own.py", option, "out"], cwd=tmp_path, text=True, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert left.returncode == 2 and left.stdout == ""
    says(left.stderr[:-1], "not_there.py" if option == "--smoke" else "results.json")
