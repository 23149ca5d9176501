"""Tasks from a function of your own, `data.source = "mymodule:load"`.

The function returns a `Dataset`. It is called with those of the following that are its arguments:

    rng                      NumPy's generator, from the seed: all its randomness
    num_train, num_test      the numbers of examples that it is to return
    classes, targets, path, in_size, teacher_width      as they stand under [data]

Noise on the training targets and the standardization of the inputs are for the package.

The same seed makes the same task. The first time that a function is taken it is asked twice, with
equal generators, so that one with randomness of its own does not go unseen.
"""

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from langevin_nn.data.dataset import Dataset
from langevin_nn.data.npz_files import ARRAY_NAMES
from langevin_nn.import_paths import explained, misfit
from langevin_nn.types import InputError

KIND = "data source"
"""The kind of object in messages about import paths."""


def arguments_of(source: str, function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a source's function by name; `InputError` for what is no function."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError) as error:  # of what is no function, or is not written in Python
        advice = f"def {source.rpartition(':')[2]}(rng, num_train, num_test)"
        raise misfit(KIND, source, function, "a function that returns a Dataset", advice) from error


def own_task(source: str, function: Callable[..., Any], given: Mapping[str, Any]) -> Dataset:
    """The task that the function returns, called with those of `given` that are its arguments.

    Raises `InputError` for arguments that are not among `given`, for what the function raises, for
    anything but a `Dataset` of as many examples and inputs as are asked for, and for a task that
    is another one when it is asked for again.
    """
    twin = copy.deepcopy(dict(given))  # with the generator as it is now
    task = _task(source, function, given)
    if (source, id(function)) not in _repeated:
        again = _task(source, function, twin)
        for name in ARRAY_NAMES:
            if not np.array_equal(getattr(task, name), getattr(again, name)):
                raise InputError(
                    f'{KIND} = "{source}" returns another {name} when it is called again with the '
                    "same seed: draw all randomness from its argument rng"
                )
        _repeated.add((source, id(function)))
    return task


_repeated: set[tuple[str, int]] = set()
"""The sources that have returned the same task twice in this process, each with its function."""


def _task(source: str, function: Callable[..., Any], given: Mapping[str, Any]) -> Dataset:
    arguments = arguments_of(source, function)
    for name, argument in arguments.items():
        if name not in given and argument.default is argument.empty:
            raise InputError(
                f'{KIND} = "{source}" asks for {name}: write arguments among {", ".join(given)}, '
                "or one with a default"
            )
    with explained(KIND, source):
        task = function(**{name: given[name] for name in arguments if name in given})
    if not isinstance(task, Dataset):
        raise InputError(
            f'{KIND} = "{source}" returns a {type(task).__name__}: write '
            "return langevin_nn.Dataset(name, x_train, y_train, x_test, y_test)"
        )
    sizes = ("num_train", "num_test", *(("in_size",) if "in_size" in arguments else ()))
    for name in sizes:
        if given[name] is not None and getattr(task, name) != given[name]:
            raise InputError(
                f'{KIND} = "{source}" returns {name} = {getattr(task, name)} and was asked for '
                f"{given[name]}: return as many, or write {name} = {getattr(task, name)}"
            )
    return task
