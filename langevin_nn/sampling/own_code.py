"""What is of the user's own is looked at where chains start, before any of them moves.

A step of a dynamics is traced and two chains are moved by it; what is not finite at any draw of the
prior is said to be so.
"""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from langevin_nn.errors import InputError
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.losses import is_own_loss
from langevin_nn.model.networks.base import Network, is_own_network
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.sampling.base import Dynamics, Stepper
from langevin_nn.sampling.checks import RECORDS, RESERVED
from langevin_nn.sampling.posterior_tree import COORDINATES, VARIABLES_OF_F
from langevin_nn.values import clipped, shown


def is_own_dynamics(dynamics: Dynamics) -> bool:
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


def require_uncoupled(
    dynamics: Dynamics, stepper: Stepper, posterior: Posterior, params: Any, keys: Any
) -> None:
    """Raise `InputError` where one step moves a chain by the weights or the noise of another.

    Convergence and errors are judged from chains that know nothing of each other. Two of those at
    `params` are moved, and again with other weights, or another key, of either. A number that all
    chains take from one key, as the length of trajectories is, makes none of them another's.
    """
    if len(keys) < 2:
        return
    name, pair = type(dynamics).__name__, keys[:2]
    other_keys = jax.vmap(partial(jax.random.fold_in, data=1))(pair)
    weights = jax.tree.map(lambda w: w[:2], params)

    @eqx.filter_jit
    def moved(
        posterior: Posterior, settings: Any, weights: Any, keys: Any, other: Any, swapped: Any
    ) -> Any:
        """The weights after a step, those in the first row of `swapped` (2, chain) elsewhere."""
        begun = jax.tree.map(
            lambda w: jnp.where(swapped[0].reshape(2, *(1,) * (w.ndim - 1)), -0.7 * w, w), weights
        )
        numbers = jnp.where(swapped[1], other, keys)
        state = dynamics.init(posterior, begun, settings)
        return dynamics.step(posterior, state, settings, numbers)[0].params

    def after(kind: int | None = None, chain: int = 0) -> list[np.ndarray]:
        swapped = np.zeros((2, 2), bool)
        if kind is not None:
            swapped[kind, chain] = True
        ends = moved(posterior, stepper.settings, weights, pair, other_keys, jnp.asarray(swapped))
        return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(ends)]

    first = after()

    def stays(chain: int, ends: list[np.ndarray]) -> bool:
        pairs = [(end[chain], begun[chain]) for end, begun in zip(ends, first, strict=True)]
        sizes = [np.max(np.abs(b), where=np.isfinite(b), initial=0.0) for _, b in pairs]
        return all(
            np.allclose(end, begun, rtol=0, atol=1e-5 * size, equal_nan=True)
            for (end, begun), size in zip(pairs, sizes, strict=True)
        )

    for chain, other in ((0, 1), (1, 0)):
        what = ""
        if not stays(chain, after(0, other)):
            what = "the weights"
        elif not stays(chain, after(1, other)) and stays(chain, after(1, chain)):
            what = "the noise"
        if what:
            raise InputError(
                f"{name}.step moves chain {chain} by {what} of chain {other}, and chains are to be "
                "independent: write a step of one chain, and jax.vmap over the state's arrays and "
                "keys"
            )


def require_finite_start(posterior: Posterior, params: Any) -> None:
    """Raise `InputError` where what is of the user's own is not finite at any of these weights.

    They are draws of the prior, where chains start: no step size changes anything about that.
    """
    if why := why_not_finite(posterior, params):
        raise InputError(why)


def why_not_finite(posterior: Posterior, params: Any, *, at_some: bool = False) -> str:
    """What is of the user's own and not finite at any of these weights, and what to write.

    They are draws of the prior; with `at_some`, not finite at one of them is enough. "" where all
    is well, or nothing is of the user's own.
    """
    network, loss = posterior.network, posterior.loss
    is_module, functions = not isinstance(network, Network), []
    write = "a function that is finite for all weights, or larger prior precisions"
    if is_module or is_own_network(network):
        functions.append(f"the network {type(network).__name__}")
    if not is_module and ACTIVATIONS.get(network.activation.name) is not network.activation:
        functions.append(f"the activation {network.activation.name!r}")
    if not functions and not is_own_loss(loss):
        return ""
    finite = np.isfinite(np.asarray(eqx.filter_jit(lambda p, w: p.energy(w))(posterior, params)))
    if finite.all() if at_some else finite.any():
        return ""
    if isinstance(posterior, GibbsPosterior):
        outputs = np.asarray(eqx.filter_jit(lambda p, w: p.train_outputs(w))(posterior, params))
        if np.isfinite(outputs).all() and is_own_loss(loss):
            functions = [f"the loss {loss.name}"]
            write = "ℓ(f, y) that is a finite number for all outputs f at these targets"
            y = jnp.asarray(posterior.y_train)[None]
            if np.isfinite(np.asarray(loss(jnp.zeros_like(y), y))).all():
                write += ", or larger prior precisions, which make f smaller"
    if not functions:
        return ""
    where = f"{np.sum(~finite)} of {len(finite)}" if finite.any() else f"any of {len(finite)}"
    return (
        f"{' or '.join(functions)} is not finite at {where} draws of the prior, where the chains "
        f"start: write {write}"
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
