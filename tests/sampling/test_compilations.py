"""How often the driver's program is compiled: once for a run, and not again for other numbers.

Compilations are counted, not traces: a buffer that does not lie where the last chunk left it makes
another program of the same trace.
"""

import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task, posterior_of
from samplers import DYNAMICS, READOUTS

import langevin_nn as lnn
from langevin_nn.sampling.engine import driver


class Count(logging.Handler):
    """The programs that XLA compiles, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        words = record.getMessage()
        if words.startswith("Finished XLA compilation of "):
            self.names.append(words.removeprefix("Finished XLA compilation of ").split(" in ")[0])


@pytest.fixture
def compiled():
    """Names of what is compiled from here on."""
    count, logger = Count(), logging.getLogger("jax")
    logger.addHandler(count)
    with jax.log_compiles():
        yield count.names
    logger.removeHandler(count)


def run(dynamics, readout, *, seed=0, temperature=0.2, precisions=(1.0, 1.0), **changes):
    data = gaussian_task(6, 4, 8, seed=7)
    posterior = posterior_of(
        data, precisions=precisions, temperature=temperature, key=jax.random.key(0),
        kind=READOUTS[readout], dtype=jnp.float32,
    )  # fmt: skip
    settings = {"num_chains": 2, "num_warmup": 9, "num_samples": 7, "thinning": 2} | changes
    step_size = 0.01 if dynamics == "langevin" else None
    return lnn.sample(
        posterior, DYNAMICS[dynamics].kind(step_size), key=jax.random.key(seed), **settings
    )


class Interrupted(Exception):
    pass


@pytest.mark.slow_except("langevin-sampled", "langevin-marginalised", "split-sampled")
@pytest.mark.parametrize(
    ("dynamics", "readout"),
    [
        pytest.param("langevin", "sampled", marks=pytest.mark.slow),  # in test_chains too
        pytest.param("langevin", "marginalised", marks=pytest.mark.slow),
        pytest.param("split", "sampled", marks=pytest.mark.slow),
        ("split", "marginalised"),
    ],
)
def test_one_compilation_for_a_run_and_none_for_others(
    dynamics, readout, compiled, monkeypatch, tmp_path
):
    monkeypatch.setattr(driver, "FIRST_CHUNK_STEPS", 2)
    monkeypatch.setattr(driver, "CHUNK_SECONDS", 1e-9)

    found = []

    def fresh(**changes):
        compiled.clear()
        found.append(run(dynamics, readout, **changes))
        return compiled.count("jit(advance)")

    assert fresh() == 1, "many chunks, before and after the warm-up"
    assert fresh(seed=1) == 0
    assert fresh(temperature=0.3) == 0
    assert fresh(precisions=(2.0, 0.5)) == 0
    assert fresh(num_warmup=5, thinning=3) == 0

    def interrupt(report):
        if report.steps > 12:
            raise Interrupted

    with pytest.raises(Interrupted):
        fresh(checkpoint=tmp_path, progress=interrupt)
    assert fresh(checkpoint=tmp_path, resume=True) == 0
    assert compiled == [], f"a resumed run compiles nothing, got {compiled}"
    np.testing.assert_array_equal(found[-1].test_outputs, found[0].test_outputs)
    np.testing.assert_array_equal(found[-1].energy, found[0].energy)
