"""Teachers: tasks that are drawn, so that their inputs and their rule are known exactly.

With w, W, v and all inputs standard normal, N_0 inputs and `width` hidden units,

    teacher_linear    y = w·x/√N_0 + ε
    teacher_network   y = v·erf(W x/√N_0)/√width + ε
    random            y drawn from the two targets with equal probability, independent of x

with ε ~ N(0, noise_variance) on the training targets only: the test targets of the first two are
the teacher's own outputs. (The noise of "random" is added in `load_dataset`, as for all other
sources.)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float

from langevin_nn.data.dataset import positive, require_inputs
from langevin_nn.data.image_formats import Arrays
from langevin_nn.data.labels import two_targets
from langevin_nn.values import require_not_negative

Rule = Callable[[Float[np.ndarray, "P N_0"]], Float[np.ndarray, " P"]]


def draw_task(
    teacher: str,
    rng: np.random.Generator,
    num_train: SupportsIndex | None,
    num_test: SupportsIndex | None,
    in_size: int,
    width: int,
    noise_variance: float | int,
    targets: Sequence[Any] | np.ndarray,
) -> tuple[Arrays, str]:
    """The arrays of a task of one of `TEACHERS`, and the teacher in words.

    The arrays are in the order of ARRAY_NAMES, with inputs of shapes (num_train, in_size) and
    (num_test, in_size). `width` is for "teacher_network", `targets` for "random".
    Raises `InputError` for parameters that are out of range.
    """
    scale = noise_scale(noise_variance)
    shape_train = positive("num_train", num_train), positive("in_size", in_size)
    shape_test = positive("num_test", num_test), in_size
    width = positive("teacher_width", width)
    require_inputs(shape_train[0] + shape_test[0] + width, in_size)
    # One stream for each array: the size of one never shifts the draws of another.
    weights, train, test, train_noise, test_noise = rng.spawn(5)
    x_train, x_test = train.standard_normal(shape_train), test.standard_normal(shape_test)
    if teacher == "random":
        values = two_targets(targets)
        y_train = train_noise.choice(values, shape_train[0])
        y_test = test_noise.choice(values, shape_test[0])
        description = f"targets {values} with equal probability, N_0 = {in_size}"
        return (x_train, y_train, x_test, y_test), description
    if teacher == "teacher_linear":
        rule, description = _linear(weights, in_size), "y = w·x/√N_0 + ε"
    else:
        rule, description = _network(weights, in_size, width), f"y = v·erf(W x/√N_0)/√{width} + ε"
    noise = scale * train_noise.standard_normal(shape_train[0])
    description += (
        f", N_0 = {in_size}, ε of variance {noise_variance:g} on the training targets only"
    )
    return (x_train, rule(x_train) + noise, x_test, rule(x_test)), description


def noise_scale(variance: float | int) -> float:
    """The standard deviation of noise of this variance; `InputError` if it is negative."""
    return math.sqrt(require_not_negative("noise_variance", variance))


def _linear(rng: np.random.Generator, in_size: int) -> Rule:
    w = rng.standard_normal(in_size)
    return lambda x: x @ w / math.sqrt(in_size)


def _network(rng: np.random.Generator, in_size: int, width: int) -> Rule:
    from scipy.special import erf

    v, matrix = rng.standard_normal(width), rng.standard_normal((width, in_size))
    return lambda x: erf(x @ matrix.T / math.sqrt(in_size)) @ v / math.sqrt(width)
