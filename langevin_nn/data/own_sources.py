"""Tasks from a function of your own, `data.source = "mymodule:load"`.

The function returns a `Dataset`. It is called with those of the following that are its arguments:

    rng                      NumPy's generator, from the seed: all its randomness
    num_train, num_test      the numbers of examples that it is to return
    classes, targets, path, in_size, teacher_width      as they stand under [data]

Noise on the training targets and the standardization of the inputs are for the package.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from langevin_nn.data.dataset import Dataset
from langevin_nn.import_paths import explained, misfit
from langevin_nn.types import InputError

KIND = "data source"
"""The kind of object in messages about import paths."""


def arguments_of(source: str, function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a source's function by name; `InputError` for what is no function."""
    if not callable(function):
        advice = f"def {source.rpartition(':')[2]}(rng, num_train, num_test)"
        raise misfit(KIND, source, function, "a function that returns a Dataset", advice)
    return inspect.signature(function).parameters


def own_task(source: str, function: Callable[..., Any], given: Mapping[str, Any]) -> Dataset:
    """The task that the function returns, called with those of `given` that are its arguments.

    Raises `InputError` for arguments that are not among `given`, for what the function raises, and
    for anything but a `Dataset` of as many examples as are asked for.
    """
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
    for name in ("num_train", "num_test"):
        if given[name] is not None and getattr(task, name) != given[name]:
            raise InputError(
                f'{KIND} = "{source}" returns {name} = {getattr(task, name)} and was asked for '
                f"{given[name]}: return as many, or write {name} = {getattr(task, name)}"
            )
    return task
