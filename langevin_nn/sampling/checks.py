"""What may be given to the samplers: posteriors, dynamics, counts, observables.

Each function returns its argument in its final form, or raises an `InputError` that says what was
given and what to write.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from langevin_nn.config.fields import LARGEST, shown
from langevin_nn.errors import TRACING_ERRORS, InputError, first_line
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.jumps import jump_in_weights, jump_of
from langevin_nn.model.networks.base import Network
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.posterior_tree import COORDINATES, VARIABLES_OF_F
from langevin_nn.values import as_path, as_whole, clipped, require_flag

RECORDS = (
    "test_outputs", "test_variances", "test_draws", "train_outputs", "train_error", "energy",
    "acceptance", "nonfinite", "data_energy", "energy_variance", "swap_acceptance", "round_trips",
)  # fmt: skip
"""The names of the series that every run records, which no observable may bear."""

RESERVED = ("file", "allow_pickle")
"""The names of arguments of `numpy.savez`, under which no series can be saved."""


@dataclass(frozen=True)
class Counts:
    """The number of chains, and their lengths. Raises `InputError` for counts out of range."""

    num_chains: Any
    num_warmup: Any
    num_samples: Any
    thinning: Any

    def __post_init__(self) -> None:
        for name, least in (
            ("num_chains", 1), ("num_warmup", 0), ("num_samples", 4), ("thinning", 1)
        ):  # fmt: skip
            object.__setattr__(self, name, checked_count(name, getattr(self, name), least))
        checked_count("num_warmup + num_samples × thinning", self.steps, 4)

    @classmethod
    def of(
        cls,
        dynamics: Dynamics,
        num_chains: SupportsIndex,
        num_warmup: SupportsIndex | None,
        num_samples: SupportsIndex,
        thinning: SupportsIndex | None,
    ) -> "Counts":
        """The counts with the dynamics' own defaults in place of None."""
        checked_dynamics(dynamics)
        return cls(
            num_chains,
            dynamics.usage.warmup if num_warmup is None else num_warmup,
            num_samples,
            dynamics.usage.thinning if thinning is None else thinning,
        )

    @property
    def steps(self) -> int:
        """The steps of each chain, warm-up and thinning included."""
        return self.num_warmup + self.num_samples * self.thinning


def checked_posterior(posterior: Any) -> Posterior:
    """The posterior as given; `InputError` for any other object."""
    if isinstance(posterior, Posterior):
        return posterior
    if isinstance(posterior, Dynamics):
        raise InputError(
            f"the posterior comes first and the dynamics second, got a "
            f"{type(posterior).__name__} first: write sample(posterior, {type(posterior).__name__}"
            "(…), key=…)"
        )
    raise InputError(
        f"a posterior was expected, got {_described(posterior)}: write "
        "GibbsPosterior(network, prior, data, temperature) or MarginalisedPosterior(…)"
    )


def checked_posteriors(posteriors: Any) -> list[Posterior]:
    """The posteriors of several points as a list; `InputError` for what is no sequence of them."""
    if isinstance(posteriors, Posterior) or not _is_iterable(posteriors):
        raise InputError(
            f"a list of posteriors was expected, got {_described(posteriors)}: write [posterior, …]"
        )
    return [checked_posterior(posterior) for posterior in posteriors]


def checked_keys(keys: Any) -> list[Any]:
    """The random keys of several points as a list; `InputError` for what is no sequence."""
    if not _is_iterable(keys):
        raise InputError(
            f"keys must be a list of random keys, one for each posterior, got {_described(keys)}: "
            "write jax.random.split(jax.random.key(0), len(posteriors))"
        )
    return list(keys)


def checked_params(posterior: Posterior, params: Any) -> Any:
    """The weights as given; `InputError` unless they are those of n networks of this posterior."""
    shapes = eqx.filter_eval_shape(posterior.sample_prior, jax.random.key(0), 1)
    leaves, structure = jax.tree.flatten(params)
    fits = len({structure, jax.tree.structure(shapes)}) == 1 and all(
        isinstance(leaf, jax.Array | np.ndarray) and leaf.shape[1:] == expected.shape[1:]
        and leaf.ndim == expected.ndim and len(leaf) == len(leaves[0])
        for leaf, expected in zip(leaves, jax.tree.leaves(shapes), strict=True)
    )  # fmt: skip
    if not fits:
        raise InputError(
            "params must be the weights of n networks of this posterior, with a leading axis of "
            f"length n, got {_described(params)}: write posterior.sample_prior(key, n)"
        )
    return params


def checked_dynamics(dynamics: Any) -> Dynamics:
    """The dynamics as given; `InputError` for any other object, also for a class of dynamics."""
    if isinstance(dynamics, Dynamics):
        return dynamics
    if isinstance(dynamics, type) and issubclass(dynamics, Dynamics):
        raise InputError(
            f"a dynamics was expected, got the class {dynamics.__name__}: write "
            f"{dynamics.__name__}()"
        )
    raise InputError(
        f"a dynamics was expected, got {_described(dynamics)}: write Langevin() or Split()"
    )


def is_own(dynamics: Dynamics) -> bool:
    """Whether a dynamics is of the user's own, and so is looked at before it moves chains."""
    return not type(dynamics).__module__.startswith("langevin_nn.")


def require_settings(dynamics: Dynamics, settings: Any, method: str) -> None:
    """Raise `InputError` unless `method` of a dynamics has given numbers of its settings."""
    kind, name = dynamics.settings, f"{type(dynamics).__name__}.{method}"
    if not isinstance(settings, kind):
        raise InputError(
            f"{name} gives {shown(settings)}, and settings are a {kind.__name__}: write return "
            "self.settings(…), of Python's numbers"
        )
    for field, value in zip(kind._fields, settings, strict=True):
        if not isinstance(value, bool | int | float | np.number) or np.isnan(value):
            raise InputError(
                f"{name} gives {field} = {shown(value)}: write a number or a flag, float(…) of an "
                "array"
            )


def require_own_step(
    dynamics: Dynamics, stepper: Stepper, posterior: Posterior, params: Any, state: Any, keys: Any
) -> None:
    """Raise `InputError` unless a step keeps the state, which has the chains' `params`.

    The step is traced, not computed; `state` is what `init` has made of `params`, at `keys`.
    """
    name = type(dynamics).__name__
    if not hasattr(state, "_fields") or "params" not in state._fields:
        raise InputError(
            f"{name}.init gives {shown(state)}: write a NamedTuple of arrays (chains, …), params "
            "among them"
        )
    if (change := _change(params, state.params)) is not None:
        raise InputError(
            f"{name}.init changes the shapes of the weights ({change}): write params = params"
        )
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        if np.shape(leaf)[:1] != keys.shape:
            raise InputError(
                f"{name}.init gives {shown(jax.tree_util.keystr(path))} of shape {np.shape(leaf)}: "
                f"write an array whose first axis counts the {len(keys)} chains"
            )
    step, settings = stepper.dynamics.step, stepper.settings
    moved = eqx.filter_eval_shape(step, posterior, state, settings, keys)
    if not (isinstance(moved, tuple) and len(moved) == 2 and not hasattr(moved, "_fields")):
        raise InputError(
            f"{name}.step gives {shown(moved)}: write return state, info, a NamedTuple each"
        )
    after, info = moved
    if (change := _change(state, after)) is not None:
        raise InputError(
            f"{name}.step changes the state ({change}): write state._replace(…), in its types"
        )
    fields = getattr(info, "_fields", None)
    if fields is None or any(getattr(part, "shape", None) != keys.shape for part in info):
        raise InputError(
            f"{name}.step gives the info {shown(info)}: write a NamedTuple of arrays (chains,), "
            "perhaps of none"
        )
    taken = {*RECORDS, *RESERVED, *VARIABLES_OF_F, *COORDINATES} - {"acceptance", "nonfinite"}
    if wrong := sorted({*fields} & taken):
        raise InputError(
            f"{name}.step gives an info with {wrong[0]}, a name that a run has for something else: "
            f"write another one, for example own_{wrong[0]}"
        )


def _change(before: Any, after: Any) -> str | None:
    """In words, the first difference of structure, shape or type between two trees, or None."""
    was, structure = (str(jax.tree.structure(tree)) for tree in (before, after))
    if structure != was:
        return f"its structure is {clipped(structure)} and was {clipped(was)}"
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
    ):
        there, here = ((np.shape(x), getattr(x, "dtype", type(x))) for x in (leaf, other))
        if there != here:
            place = jax.tree_util.keystr(path)
            return f"{place} is of shape {here[0]} and {here[1]}, and was {there[0]} and {there[1]}"
    return None


def refuse_jumps(posterior: Posterior, dynamics: Dynamics) -> None:
    """Raise `InputError` where a dynamics that follows gradients alone meets a jump."""
    if dynamics.unadjusted:
        follower = f"{type(dynamics).__name__} dynamics"
        refuse_jumps_for(follower, posterior, "Split(), whose acceptance step knows of it, or ")


def refuse_jumps_for(follower: str, posterior: Posterior, instead: str = "") -> None:
    """Raise `InputError` where what follows gradients alone meets an activation's jump.

    The gradient says nothing of a jump: without an acceptance step what is sampled is another
    measure, and what is minimised another function. `model.jumps` says which jumps are found.
    """
    network = posterior.network
    if isinstance(network, Network):
        activation = network.activation
        if (
            ACTIVATIONS.get(activation.name) is activation
            or (place := jump_of(activation.function)) is None
        ):
            return
        jump = f"the activation {activation.name!r} jumps at z = {place:g}"
    else:
        if (size := jump_in_weights(posterior)) is None:
            return
        jump = f"an output of the network jumps by {size:.2g} as its weights move"
    raise InputError(
        f"{jump}, of which the gradient that {follower} follows says nothing: write {instead}a "
        "continuous activation"
    )


def checked_saving(checkpoint: Any, resume: Any) -> Path | None:
    """The folder of the checkpoints as a path, or None without checkpoints.

    Raises `InputError` for a `checkpoint` that is no path, and a `resume` that is neither True nor
    False.
    """
    require_flag("resume", resume)
    return None if checkpoint is None else as_path("checkpoint", checkpoint)


def checked_count(name: str, value: Any, least: int) -> int:
    """The count `name` as a Python int, also from a NumPy integer; `InputError` below `least`."""
    number = as_whole(value)
    if number is None or not least <= number:
        raise InputError(f"{name} must be a whole number of at least {least}, got {shown(value)}")
    if number > LARGEST:
        raise InputError(f"{name} must be at most {LARGEST}, got {shown(value)}")
    return number


def checked_observables(
    posterior: Posterior, observables: Any
) -> dict[str, Callable[[Any], jax.Array]]:
    """The observables by their names; `InputError` unless each returns one array of numbers.

    What they return is traced, not computed.
    """
    if observables is None:
        return {}
    if not isinstance(observables, Mapping):
        raise InputError(
            f"observables are functions by their names, got {_described(observables)}: write "
            '{"norm": lambda network: …}'
        )
    for name, function in observables.items():
        if not isinstance(name, str) or not name.isprintable() or "/" in name or not name.strip():
            raise InputError(
                f"the names of observables are text without a slash, got {shown(name)}: write for "
                'example "norm"'
            )
        if name in RESERVED:
            raise InputError(f'no observable can be saved as "{name}": write "own_{name}"')
        if name in RECORDS:
            raise InputError(
                f"{name!r} is recorded already, and an observable of that name would replace it: "
                f'write another name, for example "own_{name}"'
            )
        if not callable(function):
            raise InputError(
                f"the observable {name!r} must be a function of one network, got "
                f"{_described(function)}: write lambda network: …"
            )
    if observables:
        params = eqx.filter_eval_shape(posterior.sample_prior, jax.random.key(0), 1)
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1))
        for name, function in observables.items():
            _require_array(posterior, params, keys, name, function)
    return dict(observables)


def _require_array(
    posterior: Posterior, params: Any, keys: Any, name: str, function: Callable[[Any], Any]
) -> None:
    """Raise `InputError` unless the observable `name` returns one array of numbers."""
    returned: list[Any] = []

    def observe(network: Any) -> Any:
        value = function(network)
        returned.append(value)
        return jnp.zeros(())

    def of_all(posterior: Posterior, params: Any, keys: Any) -> Any:
        return posterior.of_each(observe, posterior.lifted_networks(params, keys))

    try:
        eqx.filter_eval_shape(of_all, posterior, params, keys)
    except TRACING_ERRORS as error:
        raise InputError(
            f"the observable {name!r} cannot be traced by JAX: {first_line(error)}"
        ) from error
    value = returned[-1]
    is_array = isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.number)
    if not is_array and not (isinstance(value, jax.Array) and value.dtype == bool):
        raise InputError(
            f"the observable {name!r} must return one JAX array of numbers, got "
            f"{_described(value)}: write jax.numpy.stack or jax.numpy.asarray of what it returns"
        )


def _is_iterable(value: Any) -> bool:
    """Whether it can be iterated over; a single key has a length of its own kind and cannot."""
    if getattr(value, "shape", None) == ():
        return False
    return isinstance(value, Sequence) or hasattr(value, "__iter__")


def _described(value: Any) -> str:
    """The type of a value, and the value where it is short: for messages."""
    description = value.__name__ if isinstance(value, type) else type(value).__name__
    return (
        f"{description} {shown(value)}"
        if isinstance(value, int | float | str | None)
        else description
    )
