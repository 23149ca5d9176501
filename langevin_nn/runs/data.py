"""The data of a configuration, and the random keys that its seed gives."""

import dataclasses
from collections.abc import Callable

import jax

from langevin_nn.config.record import RunConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.data.load import load_dataset
from langevin_nn.types import THREEFRY

Load = Callable[[RunConfig], tuple[RunConfig, Dataset]]
"""A function that loads the data of a configuration: `load_data`, or a `LoadOnce`."""


def keys_of(config: RunConfig) -> jax.Array:
    """The keys of the data, of the network and of the chains."""
    return jax.random.split(jax.random.key(config.seed, impl=THREEFRY), 3)


def load_data(config: RunConfig) -> tuple[RunConfig, Dataset]:
    """The configuration with its numbers of examples resolved, and its data."""
    settings, key = config.data, keys_of(config)[0]
    data = load_dataset(
        settings.source, key=key, num_train=settings.num_train, num_test=settings.num_test,
        classes=settings.classes, targets=settings.targets, standardize=settings.standardize,
        colour=settings.colour, path=settings.path or None, in_size=settings.in_size,
        noise_variance=settings.noise_variance, teacher_width=settings.teacher_width,
        num_components=settings.num_components,
    )  # fmt: skip
    return _resolved(config, data), data


class LoadOnce:
    """`load_data` for configurations that have the same data one after the other.

    These are loaded for the first of them; their files may change meanwhile. Only the last data are
    kept.
    """

    def __init__(self) -> None:
        self._last: tuple[object, Dataset] | None = None

    def __call__(self, config: RunConfig) -> tuple[RunConfig, Dataset]:
        """The configuration with its numbers of examples resolved, and its data."""
        asked = config.data, config.seed
        if self._last is None or self._last[0] != asked:
            self._last = asked, load_data(config)[1]
        data = self._last[1]
        return _resolved(config, data), data


def _resolved(config: RunConfig, data: Dataset) -> RunConfig:
    """The configuration with the numbers of examples that its data have."""
    settings = dataclasses.replace(config.data, num_train=data.num_train, num_test=data.num_test)
    return dataclasses.replace(config, data=settings)
