"""Where the chains of all points begin, go on after an interruption, and settle.

The points are made ready first: their numbers as arrays, all side by side, keys of their own.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.dynamics.step_size import final_curvature
from langevin_nn.sampling.engine.checkpoint import Checkpoint, Progress
from langevin_nn.sampling.engine.chunks import Buffer
from langevin_nn.sampling.engine.program import Exchange, States, begin, point, stacked
from langevin_nn.types import InputError, PointKeys


def as_arrays(posterior: Posterior) -> Posterior:
    """T, the precisions and the like as arrays in the sampling precision.

    Other values then compile nothing. What numbers a network holds stays as it is.
    """
    dtype = posterior.dtype

    def numbers(posterior: Posterior) -> Any:
        return posterior.temperature, posterior.prior, posterior.targets_midpoint

    arrays = jax.tree.map(lambda x: jnp.asarray(x, dtype), numbers(posterior))
    found = eqx.tree_at(numbers, posterior, arrays)
    assert isinstance(found, Posterior)
    return found


def side_by_side(points: Sequence[Posterior]) -> Posterior:
    """All points as one; `InputError` for those that cannot run in one program."""
    try:
        target = stacked(points)
    except ValueError as error:
        raise InputError(
            "points that run side by side must share all shapes (numbers of examples, rank of the "
            "inputs, widths, outputs) and the activation; give the others a call of their own: "
            f"{str(error).splitlines()[0]}"
        ) from error
    assert isinstance(target, Posterior)
    return target


@dataclass(frozen=True)
class Streams:
    """The keys of each point: for its start, for what is measured on the host, for its chains."""

    start: list[PRNGKeyArray]
    host: list[PRNGKeyArray]
    moving: tuple[PointKeys, PointKeys]
    """Of each chain: one for its steps, one for what is drawn at its records."""

    @classmethod
    def of(cls, keys: Sequence[PRNGKeyArray], num_chains: int) -> "Streams":
        split = [jax.random.split(key, 4) for key in keys]
        steps, records = (
            jnp.stack([jax.random.split(four[i], num_chains) for four in split]) for i in (2, 3)
        )
        return cls([four[0] for four in split], [four[1] for four in split], (steps, records))


@dataclass(frozen=True)
class Start:
    """Where the chains of all points begin, go on after an interruption, and settle."""

    dynamics: Dynamics
    points: Sequence[Posterior]
    streams: Streams
    exchange: Exchange | None

    @property
    def num_chains(self) -> int:
        return int(self.streams.moving[0].shape[1])

    def fresh(self) -> tuple[States, Progress]:
        """The chains at draws of the prior, and the settings that they start with."""
        params = [
            posterior.sample_prior(key, self.num_chains)
            for posterior, key in zip(self.points, self.streams.start, strict=True)
        ]
        settings = [
            self.dynamics.start(*each)
            for each in zip(self.points, params, self.streams.host, strict=True)
        ]
        begun = [
            begin(posterior, self._stepper(numbers), weights)
            for posterior, numbers, weights in zip(self.points, settings, params, strict=True)
        ]
        return States(stacked(begun), self._between()), Progress(0, 0, 0.0, settings)

    def resumed(self, saved: Checkpoint) -> tuple[States, Progress, list[Buffer]]:
        """The chains as they were saved, and the draws before."""
        fields = self.dynamics.settings._fields

        def settings(row: dict[str, Any]) -> Any:
            return self.dynamics.settings(**{name: row.get(name, 0.0) for name in fields})

        def shapes(rows: list[dict[str, Any]]) -> States:
            def begun(posterior: Posterior, stepper: Stepper, key: PRNGKeyArray) -> Any:
                return begin(posterior, stepper, posterior.sample_prior(key, self.num_chains))

            stepper = self._stepper(settings(rows[0]))
            one = eqx.filter_eval_shape(begun, self.points[0], stepper, self.streams.start[0])
            number = len(self.points)
            return States(
                jax.tree.map(lambda x: jax.ShapeDtypeStruct((number, *x.shape), x.dtype), one),
                self._between(),
            )

        states, steps, draws, rows, chunks = saved.load(shapes)
        seconds = rows[0].get("seconds", 0.0)
        curvatures = [row["curvature"] for row in rows] if "settled" in rows[0] else None
        found = Progress(steps, draws, seconds, [settings(row) for row in rows], curvatures)
        if not set(fields) <= rows[0].keys():  # of an earlier version, which had not all of them
            known = [{name: row[name] for name in fields if name in row} for row in rows]
            found = self._completed(states, found, known)
        return states, found, chunks

    def settled(self, states: States, done: Progress) -> Progress:
        """The settings from the warm-up's end, and the curvatures where the chains are then."""
        adapted, curvatures = [], []
        here = jax.device_get(states.chains)
        for i, (posterior, key) in enumerate(zip(self.points, self.streams.host, strict=True)):
            state = jax.tree.map(jnp.asarray, point(here, i))
            adapted.append(self.dynamics.adapted(state, done.settings[i]))
            curvatures.append(
                final_curvature(posterior, state.params, key)
                if self.dynamics.unadjusted
                else math.nan
            )
        return dataclasses.replace(done, settings=adapted, curvatures=curvatures)

    def stepper(self, settings: Sequence[Any]) -> Stepper:
        """The dynamics of every point, with its settings."""
        found = stacked([self._stepper(each) for each in settings])
        assert isinstance(found, Stepper)
        return found

    def _stepper(self, settings: Any) -> Stepper:
        return Stepper.of(self.dynamics, settings, self.points[0].dtype)

    def _between(self) -> Any:
        return self.exchange.begin(len(self.points), self.num_chains) if self.exchange else None

    def _completed(
        self, states: States, done: Progress, known: Sequence[dict[str, Any]]
    ) -> Progress:
        """Settings that were not saved made anew, as they were at the start or are after it."""
        fresh = [
            self.dynamics.start(posterior, point(states.chains.params, i), key)
            for i, (posterior, key) in enumerate(zip(self.points, self.streams.host, strict=True))
        ]
        if done.settled:
            fresh = [
                self.dynamics.adapted(point(states.chains, i), each) for i, each in enumerate(fresh)
            ]
        settings = [each._replace(**row) for each, row in zip(fresh, known, strict=True)]
        return dataclasses.replace(done, settings=settings)
