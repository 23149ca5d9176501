"""Tests run in float64 where they ask for it; silent broadcasting of ranks, and silent promotion
of types (FAULTS 5, strict), are forbidden.

One thread of BLAS: the tests' matrices are small, and with as many processes as cores the threads
of each would wait for those of the others, at twice the time and more.

Compilation is most of what the fast tests take, and XLA's optimisations most of that: these tests
run with few of the backend's, and with its older way to write loops, which computes as fast and
takes a third of the time to compile. The slow ones are compiled as the package in use;
LANGEVIN_NN_OPTIMISED=1 is that for the fast tests as well, as in CI (FAULTS 5, optimisations), and
LANGEVIN_NN_OPTIMISED=0 compiles the slow ones quickly too, as CI does.

What one process has compiled the others need not, nor the next session: all processes, and those
that tests start, keep their programs in one folder of pytest's cache, without which a session takes
twice the time (`pytest --cache-clear` empties it; JAX_COMPILATION_CACHE_DIR names another). Tests
of the package's own cache leave it (`command_line.with_own_cache`).
"""

import os
import shutil
import signal
import tempfile

import jax
import pytest
import scipy.linalg  # noqa: F401  (its BLAS is one of those that are limited)
import threadpoolctl
import typechecks

# Of the processes that tests start; XLA's lines on programs that it finds compiled fill a pipe, and
# JAX has set their level when it was imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
threadpoolctl.threadpool_limits(1, user_api="blas")
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

typechecks.remember()

FEW_OPTIMISATIONS = "--xla_backend_optimization_level=1"
if jax.__version_info__ < (0, 11):  # later ones end where they are asked for it
    FEW_OPTIMISATIONS += " --xla_cpu_use_fusion_emitters=false"


PROGRAMS = {
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
"""The settings with which every program is kept, however small."""


def keep_programs(config: pytest.Config) -> None:
    """Let this process, its workers and what they start share compiled programs in one folder."""
    from langevin_nn.cli.startup import program_folder  # here, where its types are checked

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = getattr(config, "cache", None)  # none with -p no:cacheprovider
        folder = None if cache is None else program_folder(cache.mkdir("programs"))
        if folder is None:
            temporary = tempfile.mkdtemp(prefix="programs-")
            config.add_cleanup(lambda: shutil.rmtree(temporary, ignore_errors=True))
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder or temporary)
    for name, value in PROGRAMS.items():
        os.environ.setdefault(name, value)
    # JAX was imported before.
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    seconds, num_bytes = (os.environ[name] for name in PROGRAMS)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", float(seconds))
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", int(num_bytes))


@pytest.hookimpl(trylast=True)  # after jaxtyping's, where that checks types
def pytest_configure(config: pytest.Config) -> None:
    keep_programs(config)
    flags = os.environ.get("XLA_FLAGS", "")
    optimised = os.environ.get("LANGEVIN_NN_OPTIMISED", "")
    if optimised not in ("", "0"):
        return
    is_quick = optimised == "0" or config.option.markexpr == "not slow"
    if is_quick and "optimization_level" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FEW_OPTIMISATIONS}".strip()


LONG_FILES = (
    "test_experiments.py test_numpyro.py test_resume.py test_slurm.py test_readme.py "
    "test_memory.py test_sweep_processes.py test_gradient_flow.py test_interrupt.py test_claims.py "
    "test_joint_law.py test_step_size_bias.py test_tempering.py test_fuzz.py test_fuzz_folders.py "
    "test_main.py"
).split()
"""The files whose slow tests take longest: begun last they would leave a core without work."""


@pytest.hookimpl(tryfirst=True)  # before the slow ones are left out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; `slow_except("a", "b")`: of a parametrised test other cases are slow.

    `exhaustive_except` is the same of exhaustive ones.
    """
    places = {name: place for place, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        for name in ("slow", "exhaustive"):
            mark = item.get_closest_marker(f"{name}_except")
            if mark is not None and item.callspec.id not in mark.args:
                item.add_marker(name)


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="module")
def room_for_programs():
    """The suites compile more than one process may keep."""
    from langevin_nn.memory import forget_programs  # here, where its types are checked already

    yield
    forget_programs(0.2)


@pytest.fixture
def tiny() -> str:
    """The configuration of `cli`; a module may have another one."""
    from cases import TINY

    return TINY


@pytest.fixture
def cli(tmp_path, capsys, monkeypatch, tiny):
    """`langevin-nn` in an empty folder, which is the current one, with `tiny.toml`."""
    from command_line import CommandLine

    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capsys, tiny)


@pytest.fixture
def seed() -> int:
    """Fixed; LANGEVIN_NN_TEST_SEED sweeps it, to see how often a statistical test errs."""
    return int(os.environ.get("LANGEVIN_NN_TEST_SEED", "0"))
