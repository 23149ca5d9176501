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
from langevin_nn.model.losses import jump_of_own_loss
from langevin_nn.model.networks.base import Network, is_own_network
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.base import Dynamics
from langevin_nn.values import as_path, as_whole, require_flag

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


def refuse_jumps(posterior: Posterior, dynamics: Dynamics) -> None:
    """Raise `InputError` where a dynamics that follows gradients alone meets a jump."""
    if dynamics.unadjusted:
        follower = f"{type(dynamics).__name__} dynamics"
        refuse_jumps_for(follower, posterior, "Split(), whose acceptance step knows of it, or ")


def refuse_jumps_for(follower: str, posterior: Posterior, instead: str = "") -> None:
    """Raise `InputError` where what follows gradients alone meets a jump of the user's own.

    The gradient says nothing of a jump: without an acceptance step what is sampled is another
    measure, and what is minimised another function. `model.jumps` says which jumps are found.
    """
    if jump := _jump(posterior):
        what, write = jump
        raise InputError(
            f"{what}, of which the gradient that {follower} follows says nothing: write {instead}"
            f"{write}"
        )


def _jump(posterior: Posterior) -> tuple[str, str] | None:
    """In words, what is of the user's own and jumps, and what to write in its place; or None."""
    network, loss = posterior.network, posterior.loss
    is_class = is_own_network(network)
    if isinstance(network, Network):
        activation = network.activation
        if ACTIVATIONS.get(activation.name) is not activation:
            if (place := jump_of(activation.function)) is not None:
                what = f"the activation {activation.name!r} jumps at z = {place:g}"
                return what, "a continuous activation"
    if not isinstance(network, Network) or is_class:
        if (size := jump_in_weights(posterior, of_features=is_class)) is not None:
            part = "a feature" if is_class else "an output"
            what = f"{part} of the network jumps by {size:.2g} as its weights move"
            return what, "a continuous activation"
    if (place := jump_of_own_loss(loss, posterior.y_train)) is not None:
        return f"the loss {loss.name} jumps at f = {place:g}", "a loss that is continuous"
    return None


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
