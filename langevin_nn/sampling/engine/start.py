"""The chains of all points at the start, after an interruption, and at the end of the warm-up.

The points are prepared first: their numbers are made arrays, all are stacked, and each gets keys.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from langevin_nn.errors import OwnFailure
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.dynamics.step_size import Diverged, final_curvature
from langevin_nn.sampling.engine.checkpoint import Checkpoint, EngineProgress, Saved
from langevin_nn.sampling.engine.program import (
    Exchange,
    Observable,
    States,
    begin,
    point,
    stacked,
)
from langevin_nn.sampling.own_code import (
    is_own_dynamics,
    require_finite_start,
    require_own_step,
    require_settings,
    require_uncoupled,
    why_not_finite,
)
from langevin_nn.sampling.stopping import is_warm
from langevin_nn.types import InputError, PointKeys


def as_arrays(posterior: Posterior) -> Posterior:
    """The posterior with its temperature, prior and targets' midpoint as arrays of its own type.

    Other values are then the same compiled program. Numbers within a network stay as they are.
    """
    dtype = posterior.dtype

    def numbers(posterior: Posterior) -> Any:
        return posterior.temperature, posterior.prior, posterior.targets_midpoint

    arrays = jax.tree.map(lambda x: jnp.asarray(x, dtype), numbers(posterior))
    converted = eqx.tree_at(numbers, posterior, arrays)
    assert isinstance(converted, Posterior)
    return converted


def unlifted(posterior: Posterior) -> Posterior:
    """The posterior without what `lifted_networks` alone needs: a basis of (N_0, m) numbers."""
    if posterior.space is None:
        return posterior
    space = posterior.space.without_lifting
    return eqx.tree_at(lambda p: p.space, posterior, space)


def side_by_side(points: Sequence[Posterior]) -> Posterior:
    """The points stacked into one; `InputError` for points that cannot run in one program."""
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


def observables_side_by_side(points: Sequence[Mapping[str, Observable]]) -> dict[str, Observable]:
    """The observables of all points as one of each name; `InputError` where they are not the same.

    The arrays that they hold, if any, are stacked as those of the points are.
    """
    try:
        functions: dict[str, Observable] = stacked([dict(functions) for functions in points])
    except ValueError as error:
        raise InputError(
            "posteriors that run side by side have the same observables, with arrays of the same "
            f"shapes: {str(error).splitlines()[0]}"
        ) from error
    return functions


def shapes_of_state(posterior: Posterior, dynamics: Dynamics, num_chains: int) -> list[Any]:
    """The shapes and types of the arrays of a dynamics' state of so many chains; not computed."""
    settings = dynamics.settings(**dict.fromkeys(dynamics.settings._fields, 0.0))

    def initial_state(key: PRNGKeyArray) -> Any:
        stepper = Stepper.of(dynamics, settings, posterior.dtype)
        return begin(posterior, stepper, posterior.sample_prior(key, num_chains))

    return jax.tree.leaves(eqx.filter_eval_shape(initial_state, jax.random.key(0)))


@dataclass(frozen=True)
class Streams:
    """The keys of each point: for its start, for measurements on the host, and for its chains."""

    start: list[PRNGKeyArray]
    host: list[PRNGKeyArray]
    moving: tuple[PointKeys, PointKeys]
    """The keys of each chain: one for its steps, one for the numbers drawn at its records."""

    @classmethod
    def of(cls, keys: Sequence[PRNGKeyArray], num_chains: int) -> "Streams":
        """The keys split off from one key for each point."""
        split = [jax.random.split(key, 4) for key in keys]
        steps, records = (
            jnp.stack([jax.random.split(point_keys[i], num_chains) for point_keys in split])
            for i in (2, 3)
        )
        return cls(
            [point_keys[0] for point_keys in split],
            [point_keys[1] for point_keys in split],
            (steps, records),
        )


@dataclass(frozen=True)
class Start:
    """The chains of all points at the start, when resumed, and at the end of the warm-up."""

    dynamics: Dynamics
    points: Sequence[Posterior]
    streams: Streams
    exchange: Exchange | None

    @property
    def num_chains(self) -> int:
        """The number of chains of each point."""
        return int(self.streams.moving[0].shape[1])

    def fresh(self) -> tuple[States, EngineProgress]:
        """The chains at draws of the prior, and the settings that they start with."""
        params = [
            posterior.sample_prior(key, self.num_chains)
            for posterior, key in zip(self.points, self.streams.start, strict=True)
        ]
        for posterior, weights in zip(self.points, params, strict=True):
            require_finite_start(posterior, weights)
        settings = [
            self._first_settings(*inputs)
            for inputs in zip(self.points, params, self.streams.host, strict=True)
        ]
        if is_own_dynamics(self.dynamics):
            for point_settings in settings:
                require_settings(self.dynamics, point_settings, "start")
        states = [
            begin(posterior, self._stepper(point_settings), weights)
            for posterior, point_settings, weights in zip(
                self.points, settings, params, strict=True
            )
        ]
        if is_own_dynamics(self.dynamics):
            require_own_step(
                self.dynamics, self._stepper(settings[0]), self.points[0], params[0], states[0],
                self.streams.moving[0][0],
            )  # fmt: skip
            require_uncoupled(
                self.dynamics, self._stepper(settings[0]), self.points[0], params[0],
                self.streams.moving[0][0],
            )  # fmt: skip
            self._try_adapted(states[0], settings[0])
        return States(stacked(states), self._between()), EngineProgress(0, 0, 0.0, settings)

    def _first_settings(self, posterior: Posterior, params: Any, key: PRNGKeyArray) -> Any:
        """The settings of the warm-up; what diverges by code of the user's own says so."""
        try:
            return self.dynamics.start(posterior, params, key)
        except Diverged as error:
            if why := why_not_finite(posterior, params, at_some=True):
                raise Diverged(why) from error
            raise

    def _try_adapted(self, state: Any, settings: Any) -> None:
        """Raise what is wrong with `adapted` at once: it is asked at the end of the warm-up.

        Numbers that are not known at the first state may be known then.
        """
        try:
            adapted = self.dynamics.adapted(state, settings)
        except ArithmeticError:
            return
        if not isinstance(adapted, self.dynamics.settings):
            require_settings(self.dynamics, adapted, "adapted")

    def _require_adapted(self, settings: Any) -> None:
        """Raise `OwnFailure` for what `adapted` gives at the warm-up's end and is no setting."""
        try:
            require_settings(self.dynamics, settings, "adapted")
        except InputError as error:
            raise OwnFailure(str(error)) from error

    def resumed(self, saved: Checkpoint) -> tuple[States, EngineProgress, Saved]:
        """The states and the progress as they were saved, and all that was saved of the draws."""
        fields = self.dynamics.settings._fields

        def settings(row: dict[str, Any]) -> Any:
            return self.dynamics.settings(**{name: row.get(name, 0.0) for name in fields})

        def shapes(rows: list[dict[str, Any]]) -> States:
            def initial_state(posterior: Posterior, stepper: Stepper, key: PRNGKeyArray) -> Any:
                return begin(posterior, stepper, posterior.sample_prior(key, self.num_chains))

            stepper = self._stepper(settings(rows[0]))
            shapes_of_point = eqx.filter_eval_shape(
                initial_state, self.points[0], stepper, self.streams.start[0]
            )
            num_points = len(self.points)
            return States(
                jax.tree.map(
                    lambda x: jax.ShapeDtypeStruct((num_points, *x.shape), x.dtype), shapes_of_point
                ),
                self._between(),
            )

        content = saved.load(shapes)
        states, steps, draws, rows = content[:4]
        seconds = rows[0].get("seconds", 0.0)
        curvatures = [row["curvature"] for row in rows] if "settled" in rows[0] else None
        energies = [row["warmup_energies"] for row in rows if "warmup_energies" in row]
        progress = EngineProgress(
            steps, draws, seconds, [settings(row) for row in rows], curvatures,
            rows[0].get("warmup"), np.asarray(energies) if energies else None,
        )  # fmt: skip
        if not set(fields) <= rows[0].keys():  # saved by an earlier version, which had fewer
            known = [{name: row[name] for name in fields if name in row} for row in rows]
            progress = self._completed(states, progress, known)
        return states, progress, content

    def is_warm(self, states: States, progress: EngineProgress) -> bool:
        """Whether a warm-up that ends by itself may end now: nothing drifts at any point."""
        assert progress.energies is not None
        if not all(map(is_warm, progress.energies)):
            return False
        chains = jax.device_get(states.chains)
        return all(
            self.dynamics.settled(point(chains, i), settings)
            for i, settings in enumerate(progress.settings)
        )

    def settled(self, states: States, progress: EngineProgress) -> EngineProgress:
        """The progress with the settings and the curvatures that hold from the warm-up's end."""
        adapted, curvatures = [], []
        chains = jax.device_get(states.chains)
        for i, (posterior, key) in enumerate(zip(self.points, self.streams.host, strict=True)):
            state = jax.tree.map(jnp.asarray, point(chains, i))
            adapted.append(self.dynamics.adapted(state, progress.settings[i]))
            if is_own_dynamics(self.dynamics):
                self._require_adapted(adapted[-1])
            curvatures.append(
                final_curvature(posterior, state.params, key)
                if self.dynamics.unadjusted
                else math.nan
            )
        return dataclasses.replace(progress, settings=adapted, curvatures=curvatures)

    def stepper(self, settings: Sequence[Any]) -> Stepper:
        """The stacked steppers of all points, from the settings of each."""
        steppers = stacked([self._stepper(point_settings) for point_settings in settings])
        assert isinstance(steppers, Stepper)
        return steppers

    def _stepper(self, settings: Any) -> Stepper:
        return Stepper.of(self.dynamics, settings, self.points[0].dtype)

    def _between(self) -> Any:
        return self.exchange.begin(len(self.points), self.num_chains) if self.exchange else None

    def _completed(
        self, states: States, done: EngineProgress, saved: Sequence[dict[str, Any]]
    ) -> EngineProgress:
        """The progress with settings that an earlier version did not save found anew.

        They are those of the start, or from the end of the warm-up the adapted ones.
        """
        fresh = [
            self.dynamics.start(posterior, point(states.chains.params, i), key)
            for i, (posterior, key) in enumerate(zip(self.points, self.streams.host, strict=True))
        ]
        if done.settled:
            fresh = [
                self.dynamics.adapted(point(states.chains, i), point_settings)
                for i, point_settings in enumerate(fresh)
            ]
        settings = [
            point_settings._replace(**row) for point_settings, row in zip(fresh, saved, strict=True)
        ]
        return dataclasses.replace(done, settings=settings)
