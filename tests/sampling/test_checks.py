"""What is given to the samplers by mistake is refused before anything runs (FAULTS 1.8; 5, key=0).

In a process of its own, without the checks of types that the tests add to every function.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = """
import functools, jax, jax.numpy as jnp, numpy as np, langevin_nn as lnn
from langevin_nn.sampling.counts import Counts

key = jax.random.key(0)
x = np.random.default_rng(0).normal(size=(6, 3))
data = lnn.Dataset("normal", x, x[:, 0], x[:2], x[:2, 0])
network = lnn.FullyConnected(np.int64(3), [np.int32(2)], key=jax.random.PRNGKey(0))
prior = lnn.GaussianPrior(np.ones(2))
posterior = lnn.GibbsPosterior(network, prior, data, np.float64(0.1))
split, one = lnn.Split(), {"num_warmup": 1, "num_samples": 4}


def observed(**functions):
    return lambda: lnn.sample(posterior, split, key=key, observables=functions, **one)


def sampled(*args, **changes):
    return lambda: lnn.sample(*args, **{"key": key, **one, **changes})


calls = {
    "key=0": sampled(posterior, split, key=0),
    "key=None": sampled(posterior, split, key=None),
    "two keys": sampled(posterior, split, key=jax.random.split(key)),
    "a seed as an array": sampled(posterior, split, key=jnp.asarray(3)),
    "a large number": sampled(posterior, split, key=10**5000),
    "many chains": sampled(posterior, split, num_chains=10**5000),
    "key of text": sampled(posterior, split, key="0"),
    "no dynamics": sampled(posterior, object()),
    "a class": sampled(posterior, lnn.Langevin),
    "a name": sampled(posterior, "langevin"),
    "no posterior": sampled(object(), lnn.Langevin()),
    "a network": sampled(network, split),
    "swapped": sampled(split, posterior),
    "a Boolean": sampled(posterior, split, num_chains=True),
    "a fraction": sampled(posterior, split, num_samples=10.0),
    "text": sampled(posterior, split, num_warmup="10"),
    "too many": sampled(posterior, split, num_warmup=2**31),
    "too many steps": sampled(posterior, split, num_samples=2**20, thinning=2**20),
    "energy": observed(energy=lambda n: jnp.zeros(())),
    "acceptance": observed(acceptance=lambda n: jnp.zeros(())),
    "test_outputs": observed(test_outputs=lambda n: n.weights[0]),
    "a name of NumPy's": observed(file=lambda n: n.weights[0]),
    "None": observed(a=lambda n: None),
    "a string": observed(a=lambda n: "norm"),
    "a number": observed(a=lambda n: 1.0),
    "a list": observed(a=lambda n: [n.weights[0], n.weights[1]]),
    "a tuple": observed(a=lambda n: (n.weights[0],)),
    "an object": observed(a=lambda n: np.array([None, np.nan], object)),
    "NumPy": observed(a=lambda n: np.linalg.norm(n.weights[0])),
    "no such field": observed(a=lambda n: n.no_such_field),
    "keys": observed(a=lambda n: jax.random.key(0)),
    "no function": observed(a=3),
    "no name": lambda: lnn.sample(
        posterior, split, key=key, observables={3: lambda n: n.weights[0]}, **one),
    "a path": lambda: lnn.sample(
        posterior, split, key=key, observables={"a/b": lambda n: n.weights[0]}, **one),
    "no mapping": sampled(posterior, split, observables=[lambda n: n.weights[0]]),
    "points: one posterior": lambda: lnn.sample_points(posterior, split, keys=[key]),
    "points: one key": lambda: lnn.sample_points([posterior], split, keys=key),
    "points: number": lambda: lnn.sample_points([posterior], split, keys=[0]),
    "points: swapped": lambda: lnn.sample_points([split], posterior, keys=[key]),
    "points: none": lambda: lnn.sample_points([], split, keys=[]),
    "temper: key": lambda: lnn.temper(posterior, split, (1.0,), key=0, **one),
    "temper: swapped": lambda: lnn.temper(split, posterior, (1.0,), key=key, **one),
    "temper: dynamics": lambda: lnn.temper(posterior, None, (1.0,), key=key, **one),
    "flow: key": lambda: lnn.gradient_flow(posterior, key=0, rtol=1e-5),
    "flow: posterior": lambda: lnn.gradient_flow(network, key=key),
    "flow: number": lambda: lnn.gradient_flow(posterior, key=key, num_initialisations=2.5),
    "flow: text": lambda: lnn.gradient_flow(posterior, key=key, max_time="1"),
    "minimum: posterior": lambda: lnn.find_minimum(network, None),
    "minimum: swapped": lambda: lnn.find_minimum(posterior.sample_prior(key, 1), posterior),
    "summarise": lambda: lnn.summarise(posterior),
    "compare": lambda: lnn.compare(posterior, posterior),
    "data: key": lambda: lnn.load_dataset("digits", num_train=5, num_test=5, key=0),
    "kernel: dynamics": lambda: lnn.NumPyroKernel(posterior, object()),
    "kernel: swapped": lambda: lnn.NumPyroKernel(split, posterior),
    "kernel: steps": lambda: lnn.NumPyroKernel(posterior, split, steps_per_sample=True),
    "kernel: observables": lambda: lnn.NumPyroKernel(
        posterior, split, observables={"energy": lambda n: n.weights[0]}),
    "posterior: prior": lambda: lnn.GibbsPosterior(network, data, prior, 0.1),
    "posterior: data": lambda: lnn.GibbsPosterior(network, prior, x, 0.1),
    "posterior: loss": lambda: lnn.GibbsPosterior(network, prior, data, 0.1, "hinge"),
    "posterior: class": lambda: lnn.GibbsPosterior(network, prior, data, 0.1, lnn.Hinge),
    "posterior: text": lambda: lnn.GibbsPosterior(network, prior, data, "0.1"),
    "posterior: Boolean": lambda: lnn.GibbsPosterior(network, prior, data, True),
    "posterior: None": lambda: lnn.GibbsPosterior(network, prior, data, None),
    "posterior: network": lambda: lnn.GibbsPosterior("network", prior, data, 0.1),
    "network: key": lambda: lnn.FullyConnected(3, (2,), key=0),
    "network: widths": lambda: lnn.FullyConnected(3, 2, key=key),
    "network: Boolean": lambda: lnn.FullyConnected(3, (True,), key=key),
    "network: type": lambda: lnn.FullyConnected(3, (2,), key=key, dtype=jnp.int32),
    "prior: number": lambda: lnn.GaussianPrior(1.0),
    "prior: text": lambda: lnn.GaussianPrior(("1", "1")),
}
erf = lnn.activation("erf")
spec = {"in_size": 3, "hidden_widths": (2,), "activation": erf, "prior_precisions": (1.0, 1.0),
        "temperature": 0.1}
wrong = {
    lnn.Langevin: {"step_size": ("auto", "0.1", True, (0.1,))},
    lnn.Split: {
        "step_size": ("auto", True, 2.0, np.nan), "refresh": ("0.1", True, None, 0.0),
        "trajectory_length": (np.inf, "1", False), "target_acceptance": (None, "0.8", 1.5),
    },
    functools.partial(lnn.EnsembleSpec, **spec): {
        "temperature": ("0.1", True, None, [0.1], -1), "prior_precisions": (1.0, ("1", 1.0), "11"),
        "hidden_widths": (5, (5.0,), (True,), ("5",)), "num_outputs": (1.5, "1", True, None),
        "bias_precisions": (1.0, (1.0, None)), "in_size": (3.0, "3", 0, None),
    },
    lnn.Hinge: {"power": ("2", 3, True), "margin": ("1", 0.0, None, np.nan)},
    functools.partial(lnn.temper, posterior, split, key=key, **one): {
        "temperatures": ("12", 1.0, (True,), (0.0,), ("1",), (np.nan,), None),
    },
}
for make, fields in wrong.items():
    for field, values in fields.items():
        for value in values:
            name = getattr(make, "func", make).__name__
            calls[f"{name}: {field} = {value!r}"] = functools.partial(make, **{field: value})
for name, call in calls.items():
    try:
        call()
    except lnn.InputError as error:
        assert "\\n" not in str(error), (name, error)
    except Exception as error:
        raise AssertionError(f"{name}: {type(error).__name__}: {error}") from error
    else:
        raise AssertionError(f"{name} was taken")
assert Counts(np.int64(2), np.uint8(0), jnp.asarray(4), 1).steps == 4
print(len(calls))
"""


@pytest.mark.slow
def test_wrong_calls_are_refused_in_one_line():
    """FAULTS 1.8; 5, key=0, and text for a number.

    Numbers of NumPy for counts, and legacy keys, are taken.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 50
