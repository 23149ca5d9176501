"""What the shell hands to the command line: variables of libraries, settings of matplotlib.

FAULTS 5: each of these ended in a traceback, or changed what a seed means without a word.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest
from cases import TINY

import langevin_nn as lnn
from langevin_nn.cli import environment
from langevin_nn.errors import InputError
from langevin_nn.runs import run

ROOT = Path(__file__).parents[2]


def in_a_process(*words, **variables):
    """The command in a process of its own, with these environment variables."""
    return subprocess.run(
        [sys.executable, "-m", "langevin_nn.cli", *words], env=os.environ | variables,
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "value", "accepted"),
    [
        ("JAX_ENABLE_X64", "maybe", "1 or 0"),
        ("JAX_PLATFORMS", "nope", "cpu, or cuda"),
        pytest.param("JAX_NUM_CPU_DEVICES", "abc", "from 1", marks=pytest.mark.slow),
        pytest.param("JAX_DEFAULT_DEVICE", "nope", "another platform", marks=pytest.mark.slow),
        pytest.param("JAX_NUMPY_RANK_PROMOTION", "no", "allow", marks=pytest.mark.slow),
        pytest.param("JAX_PLATFORMS", "cuda", "cuda on", marks=pytest.mark.slow),
        pytest.param("XLA_FLAGS", "--nosuch", "XLA's flags", marks=pytest.mark.slow),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(variable, value, accepted):
    if value == "cuda" and jax.default_backend() == "gpu":
        pytest.skip("there is one")
    done = in_a_process("info", **{variable: value})
    words = f"langevin-nn: error: the environment variable {variable} = '{value}' cannot be used"
    assert done.returncode == 2 and done.stdout == "", done
    assert done.stderr.startswith(words) and done.stderr.count("\n") == 1, done.stderr
    assert accepted in done.stderr and done.stderr.endswith(f"unset {variable}\n")


@pytest.mark.parametrize(
    ("variable", "value", "usable"),
    [
        *(("JAX_NUM_CPU_DEVICES", value, False) for value in ("abc", "0", "", "-2", "3000000")),
        *(("JAX_NUM_CPU_DEVICES", value, True) for value in ("1", "-1", "64")),
        ("XLA_FLAGS", "--nosuch=1", False),
        ("XLA_FLAGS", "--xla_force_host_platform_device_count=abc", False),
        ("XLA_FLAGS", "--xla_force_host_platform_device_count=2", True),
        ("XLA_FLAGS", " ", True),
        ("JAX_TRANSFER_GUARD", "disallow", False),
        ("JAX_TRANSFER_GUARD", "log", True),
        ("JAX_TRANSFER_GUARD_HOST_TO_DEVICE", "DISALLOW_EXPLICIT", False),
        ("JAX_NO_TRACING", "1", False),
        ("JAX_DEBUG_KEY_REUSE", "True", False),
        ("JAX_DEBUG_KEY_REUSE", "0", True),
    ],
)
def test_variables_with_which_a_command_would_end(monkeypatch, variable, value, usable):
    """XLA aborts, of a million devices it makes the threads, and what a guard forbids all do: they
    are seen beforehand. FAULTS 5."""
    monkeypatch.delitem(sys.modules, "jax")
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setenv(variable, value)
    if usable:
        environment.require_usable()
    else:
        with pytest.raises(InputError, match=f"{variable} = '{value}' cannot be used"):
            environment.require_usable()


@pytest.mark.slow_except("arvizrc")
@pytest.mark.parametrize(
    "kind", [pytest.param("arvizrc", marks=pytest.mark.slow), "dask"]
)  # fmt: skip
def test_settings_of_other_libraries(tmp_path, kind):
    """A file in the working folder, or where a variable says. Dask's was read with posterior.nc, of
    which it was said then that it is damaged."""
    (tmp_path / "arvizrc").write_text("stats.ci_prob: abc" if kind == "arvizrc" else "")
    (tmp_path / "bad.yaml").write_text("{a: [")
    variables = {"DASK_CONFIG": str(tmp_path / "bad.yaml")} if kind == "dask" else {}
    if kind == "dask":
        pytest.importorskip("dask")
    done = subprocess.run(
        [sys.executable, "-m", "langevin_nn.cli", "plot", "."], cwd=tmp_path, capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | variables, text=True, timeout=300,
    )  # fmt: skip
    library = kind.removesuffix("rc")
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    assert f"{library} cannot read its settings" in done.stderr, done.stderr


def test_other_errors_of_libraries_stay_what_they_are(monkeypatch):
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    with pytest.raises(ValueError, match="^something else$"), environment.settings_explained():
        raise ValueError("something else")


@pytest.mark.parametrize("impl", ["rbg", "threefry2x32"])
def test_the_seed_alone_is_the_seed(impl):
    """With JAX_DEFAULT_PRNG_IMPL=rbg the same configuration drew another data set."""
    config = lnn.config.from_dict(
        {"seed": 3, "data": {"source": "teacher_linear", "num_train": 5, "num_test": 4}}
    )
    expected = np.asarray(run.prepare_theory(config)[1].data.y_train)
    with jax.default_prng_impl(impl):
        np.testing.assert_array_equal(run.prepare_theory(config)[1].data.y_train, expected)


@pytest.mark.slow
def test_an_offset_of_seeds_does_not_change_what_a_seed_is(tmp_path):
    """JAX_RANDOM_SEED_OFFSET=7 gave seed 1 the numbers of seed 8. FAULTS 1."""
    (tmp_path / "tiny.toml").write_text(TINY)
    words = ("theory", str(tmp_path / "tiny.toml"), "--theory", "infinite_width", "--json")
    plain, other = (in_a_process(*words, JAX_RANDOM_SEED_OFFSET=offset) for offset in "07")
    assert plain.returncode == 0 and plain.stdout == other.stdout


@pytest.mark.slow
def test_a_process_settles_matplotlib_and_random_numbers_itself(tmp_path):
    """A notebook's backend that is not installed, and a matplotlibrc that is no text: either one
    let `import matplotlib` fail. Here the folder is what is wrong."""
    (tmp_path / "matplotlibrc").write_bytes(b"\xff\xfe")
    done = in_a_process(
        "plot", str(tmp_path), MATPLOTLIBRC=str(tmp_path), JAX_DEFAULT_PRNG_IMPL="nope",
        MPLBACKEND="module://matplotlib_inline.backend_inline",
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.startswith("langevin-nn: error: "), done.stderr
    assert done.stderr.count("\n") == 1 and "is not a run folder" in done.stderr, done.stderr


def test_figures_are_drawn_under_own_settings(cli):
    """text.usetex without TeX ended in a traceback."""
    foreign = {"text.usetex": True, "savefig.bbox": "tight", "font.size": 40, "font.family": ["x"]}
    words = ("theory", "tiny.toml", "--theory", "infinite_width", "--plot")
    assert cli(*words, "plain.png").code == 0
    with matplotlib.rc_context(foreign):
        assert cli(*words, "foreign.png").code == 0
        assert {name: matplotlib.rcParams[name] for name in foreign} == foreign, "as before"
    plain, other = ((cli.folder / f"{name}.png").read_bytes() for name in ("plain", "foreign"))
    assert plain == other


@pytest.mark.parametrize("words", [("data", "list"), ("theory", "tiny.toml")])
def test_a_home_folder_that_is_not_there(cli, monkeypatch, words):
    monkeypatch.setenv("LANGEVIN_NN_DATA", "~nosuchuser/x")
    if words[0] == "theory":
        words += ("--data.source", "mnist", "--data.classes", "0", "1")
    answer = cli(*words)
    assert answer.code == 2 and answer.err.count("\n") == 1, answer
    assert "LANGEVIN_NN_DATA = '~nosuchuser/x': there is no home folder ~nosuchuser" in answer.err


@pytest.mark.parametrize("given", ["~nosuchuser/d.npz", "a\0b"])
@pytest.mark.parametrize("name", ["path", "folder"])
def test_paths_in_python(name, given):
    source = {"path": "npz", "folder": "mnist"}[name]
    with pytest.raises(InputError, match=f"^{name} (= '~nosuchuser|must name a file or a folder)"):
        lnn.load_dataset(source, key=jax.random.key(0), num_train=2, num_test=2, **{name: given})
