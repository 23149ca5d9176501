"""What may be given to the samplers: posteriors, dynamics, counts, observables.

Each function returns its argument in its final form, or raises an `InputError` that says what was
given and what to write.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from langevin_nn.errors import TRACING_ERRORS, InputError, first_line
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.jumps import jump_in_weights, jump_of
from langevin_nn.model.losses import jump_of_own_loss
from langevin_nn.model.networks.base import Network, is_own_network
from langevin_nn.model.posterior import Posterior
from langevin_nn.model.representation import Recorded
from langevin_nn.own_classes import required_arguments
from langevin_nn.representations import SERIES
from langevin_nn.sampling.base import Dynamics
from langevin_nn.values import as_path, require_flag, shown

RECORDS = (
    "test_outputs", "test_variances", "test_draws", "train_outputs", "train_error", "energy",
    "control_variates", "acceptance", "nonfinite", "data_energy", "energy_variance",
    "swap_acceptance", "round_trips",
)  # fmt: skip
"""The names of the series that every run records, which no observable may bear."""

RESERVED = ("file", "allow_pickle")
"""The names of arguments of `numpy.savez`, under which no series can be saved."""


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
            f"{dynamics.__name__}({', '.join(required_arguments(dynamics))})"
        )
    raise InputError(
        f"a dynamics was expected, got {_described(dynamics)}: write Langevin() or Split()"
    )


def refuse_jumps(posterior: Posterior, dynamics: Dynamics) -> None:
    """Raise `InputError` where a dynamics that follows gradients alone meets a jump."""
    if dynamics.unadjusted:
        follower = f"{type(dynamics).__name__} dynamics"
        refuse_jumps_for(follower, posterior, "Split(), whose acceptance step knows of it, or ")


def refuse_biased_controls(posterior: Posterior, dynamics: Dynamics) -> None:
    """Raise `InputError` where control variates do not have the mean zero that they have by law."""
    if dynamics.unadjusted and getattr(posterior, "reference", None) is not None:
        raise InputError(
            f"the control variates have the mean zero under the posterior, which "
            f"{type(dynamics).__name__} dynamics samples up to its step size only: write "
            'Split() (dynamics = "split"), or leave control variates out'
        )


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
    with np.errstate(over="ignore", invalid="ignore"):  # a loss that overflows has no jump there
        place = jump_of_own_loss(loss, posterior.y_train)
    if place is not None:
        return f"the loss {loss.name} jumps at f = {place:g}", "a loss that is continuous"
    return None


def checked_saving(checkpoint: Any, resume: Any) -> Path | None:
    """The folder of the checkpoints as a path, or None without checkpoints.

    Raises `InputError` for a `checkpoint` that is no path, and a `resume` that is neither True nor
    False.
    """
    require_flag("resume", resume)
    return None if checkpoint is None else as_path("checkpoint", checkpoint)


def checked_files(paths: Any, number: int) -> list[Path | None]:
    """The files for the weights of so many points, None for those that are not kept.

    Raises `InputError` for another number of them, for one that is no path, for a folder and for a
    file in a folder that is not there.
    """
    if paths is None:
        return [None] * number
    if isinstance(paths, str | Path) or not _is_iterable(paths) or len(paths) != number:
        raise InputError(
            f"keep_weights are {number} file(s), one for each posterior, got {shown(paths)}: write "
            "[PATH, …]"
        )
    checked = [None if path is None else as_path("keep_weights", path) for path in paths]
    for path in filter(None, checked):
        if path.is_dir() or not path.parent.is_dir():
            reason = "a folder" if path.is_dir() else "in a folder that is not there"
            raise InputError(f"keep_weights = {path} is {reason}: write the name of a file")
    if len({*filter(None, checked)}) < sum(path is not None for path in checked):
        raise InputError(f"keep_weights has a file twice, got {shown(paths)}: write different ones")
    return checked


def observables_of_points(
    posteriors: Sequence[Posterior], observables: Any
) -> list[dict[str, Callable[[Any], jax.Array]]]:
    """The observables of each point: those of a mapping for all, or one mapping for each.

    Raises `InputError` as `checked_observables` does, and unless all points have the same names.
    """
    if not isinstance(observables, list | tuple):
        return [checked_observables(posteriors[0], observables)] * len(posteriors)
    if len(observables) != len(posteriors):
        raise InputError(
            f"observables are one mapping for all posteriors or one for each of {len(posteriors)}, "
            f"got {len(observables)}: write [lnn.representation(posterior, […]) for posterior in …]"
        )
    functions = [
        checked_observables(posterior, own)
        for posterior, own in zip(posteriors, observables, strict=True)
    ]
    if len({frozenset(own) for own in functions}) > 1:
        raise InputError(
            "posteriors that run side by side have observables of the same names, got "
            f"{', '.join(map(str, map(sorted, functions)))}: write the same for each"
        )
    return functions


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
        if name in SERIES and not isinstance(function, Recorded):
            raise InputError(
                f"{name!r} is what lnn.representation records: write another name for a function "
                f'of your own, for example "own_{name}"'
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
