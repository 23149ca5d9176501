"""What is sampled by what: the one table that every test of a law runs over.

A row is a dynamics, a read-out and a precision. Another dynamics is one `Row` of `DYNAMICS`.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from extensions.dynamics_barker import Barker

import langevin_nn as lnn
from langevin_nn.sampling.base import Stepper

KEY = jax.random.key(4)
READOUTS = {"sampled": lnn.GibbsPosterior, "marginalised": lnn.MarginalisedPosterior}
PRECISIONS = {"float32": jnp.float32, "float64": jnp.float64}


@dataclass(frozen=True)
class Row:
    """A dynamics, and the arguments of its class in each test of a law.

    `linear` is for linear networks, with the steps that take a draw of the prior to the posterior;
    None where the law there is another one. `one_weight` is for one weight and any loss,
    `hidden_weight` for one hidden weight with the read-out marginalised. `joint` are, by read-out,
    replicas, steps between draws, and arguments, for the joint law of weights and targets.
    """

    kind: type[lnn.Dynamics]
    one_weight: tuple[float, ...]
    hidden_weight: tuple[float, ...]
    joint: dict[str, tuple[int, int, tuple[float, ...]]]
    linear: tuple[int, tuple[float, ...]] | None = None

    @property
    def step_size(self) -> dict[str, float]:
        """By test, the step size that biases the law; 0 for a dynamics without a bias."""
        return {
            name: getattr(self, name)[0] * self.kind.unadjusted
            for name in ("one_weight", "hidden_weight")
        }


DYNAMICS = {
    "langevin": Row(
        lnn.Langevin,
        one_weight=(0.25,),
        hidden_weight=(1.0,),
        joint={"sampled": (4_000, 75, (0.003,)), "marginalised": (1_000, 30, (0.01,))},
    ),
    "split": Row(
        lnn.Split,
        one_weight=(0.7, 1.5),
        hidden_weight=(0.7, 1.5),
        joint={"sampled": (6_000, 1, (0.3, 1.5)), "marginalised": (2_000, 1, (0.7, 1.5))},
        linear=(40, (0.4, 1.5)),
    ),
    "barker": Row(
        Barker,
        one_weight=(1.5,),
        hidden_weight=(1.5,),
        joint={"sampled": (4_000, 15, (0.15,)), "marginalised": (1_000, 8, (0.4,))},
        linear=(300, (0.5,)),
    ),
}


@dataclass(frozen=True)
class Sampler:
    """A row of the table."""

    dynamics: str
    readout: str
    precision: str

    def __str__(self) -> str:
        return f"{self.dynamics}, {self.readout}, {self.precision}"

    @property
    def dtype(self) -> Any:
        return PRECISIONS[self.precision]

    def posterior(
        self, data, widths, precisions, temperature, *, activation="erf", readout=None, **settings
    ):
        """The posterior of a fully connected network, its numbers as arrays."""
        network = lnn.FullyConnected(
            data.in_size, widths, activation, key=KEY, dtype=self.dtype, **settings
        )
        kind = readout or READOUTS[self.readout]
        return traced(kind(network, lnn.GaussianPrior(precisions), data, temperature), self.dtype)

    def transition(self, step_size, *numbers, kind=None, **settings):
        """The dynamics at this step size; `kind` is another class in its place."""
        return traced(
            (kind or DYNAMICS[self.dynamics].kind)(step_size, *numbers, **settings), self.dtype
        )


SAMPLERS = [Sampler(*row) for row in product(DYNAMICS, READOUTS, PRECISIONS)]


def rows(**wanted):
    """The rows that have the given dynamics, read-out or precision."""
    return [s for s in SAMPLERS if all(getattr(s, name) == value for name, value in wanted.items())]


def slow_unless(quick, name, *values):
    """A test's parameters, slow unless its name begins with one of `quick`."""
    marks = () if name.startswith(tuple(quick)) else pytest.mark.slow
    return pytest.param(*values, id=name, marks=marks)


def traced(module, dtype):
    """Python numbers as arrays, so that other values are the same compiled program."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if isinstance(x, float) else x, module)


def stepper(transition):
    """The dynamics with its own numbers as settings: nothing is measured or adapted."""
    names = [name for name in transition.settings._fields if hasattr(transition, name)]
    settings = transition.settings(**{name: getattr(transition, name) for name in names})
    return Stepper(transition, settings)


@eqx.filter_jit
def evolved(posterior, transition, params, key, steps):
    """The parameters of all chains `steps` steps later."""
    keys = jax.random.split(key, jax.tree.leaves(params)[0].shape[0])
    moving = stepper(transition)

    def step(i, state):
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        return moving.step(posterior, state, folded)[0]

    start = transition.init(posterior, params, moving.settings)
    return jax.lax.fori_loop(0, jnp.asarray(steps), step, start).params


class OtherNoise(lnn.Langevin):
    """Langevin dynamics with `replaced` of its noise √(2ηT) ξ."""

    def step(self, posterior, state, settings, keys):
        moved, info = super().step(posterior, state, settings, keys)
        gradient = jax.grad(lambda p: jnp.sum(posterior.energy(p)))(state.params)

        def replace(new, old, slope):
            drift = old - settings.step_size * slope
            return drift + self.replaced(new - drift)

        return type(moved)(jax.tree.map(replace, moved.params, state.params, gradient)), info

    def replaced(self, noise):
        raise NotImplementedError


class HalfTheNoise(OtherNoise):
    """√(ηT) ξ in place of √(2ηT) ξ."""

    def replaced(self, noise):
        return noise / 2**0.5


class Unadjusted(lnn.Split):
    """Every trajectory is taken."""

    def trajectory(self, posterior, start, step_size, steps):
        end, change = super().trajectory(posterior, start, step_size, steps)
        return end, jnp.full_like(change, -1.0)


class WithoutDeterminant(lnn.MarginalisedPosterior):
    """Φ without ½ D log det: what is left of Φ is quadratic in the targets."""

    def misfit(self, params):
        doubled = eqx.tree_at(lambda p: p.y_train, self, 2**0.5 * self.y_train)
        return lnn.MarginalisedPosterior.misfit(doubled, params) - super().misfit(params)
