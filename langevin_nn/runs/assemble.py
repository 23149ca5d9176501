"""The parts of a run that a configuration names: network, posterior and dynamics."""

import math
from dataclasses import fields

import jax
import jax.numpy as jnp

from langevin_nn import footprint
from langevin_nn.analysis.stopping import TargetError
from langevin_nn.config.dynamics import users_of
from langevin_nn.config.fields import errors_by_name
from langevin_nn.config.losses import loss_usage
from langevin_nn.config.record import RunConfig, SamplerConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.import_paths import explained
from langevin_nn.model.control_variates import NUM_CONTROLS
from langevin_nn.model.losses import Loss, loss_named
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks.base import Network
from langevin_nn.model.networks.named import KIND, network_named
from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.own_classes import file_name, has_argument, required_arguments
from langevin_nn.runs.own_networks import require_as_asked
from langevin_nn.sampling.base import Dynamics, dynamics_named
from langevin_nn.theory.suite import THEORIES, theory_named
from langevin_nn.types import InputError
from langevin_nn.values import nearest, require_kind, shown

READOUTS: dict[str, type[Posterior]] = {
    "sampled": GibbsPosterior,
    "marginalised": MarginalisedPosterior,
}


def loss_of(config: RunConfig) -> Loss:
    """The configuration's loss, with the numbers that the configuration gives it."""
    posterior = config.posterior
    numbers = loss_usage(posterior.loss).numbers.items()
    return loss_named(
        posterior.loss, **{number.argument: getattr(posterior, key) for key, number in numbers}
    )


def dynamics_of(settings: SamplerConfig) -> Dynamics:
    """The dynamics that the settings name; a number that it finds itself, "auto", is None."""
    kind, keys = dynamics_named(settings.dynamics), [field.name for field in fields(settings)]
    for name in kind.usage.options:
        if name not in keys:
            raise InputError(
                f'dynamics = "{settings.dynamics}" has {shown(name)} among usage.options, and '
                f"[sampler] has no such key{nearest(str(name), keys) or ':'} write options among "
                f"{', '.join(keys)}"
            )
    _refuse_unused(settings, kind)
    _require_arguments(settings, kind)
    options = {name: getattr(settings, name) for name in kind.usage.options}
    with explained("dynamics", settings.dynamics):
        return kind(**{name: None if value == "auto" else value for name, value in options.items()})


def _require_arguments(settings: SamplerConfig, kind: type[Dynamics]) -> None:
    """Raise `InputError` unless the class takes what its usage.options name, and needs no more."""
    own = f'dynamics = "{settings.dynamics}" ({file_name(settings.dynamics)})'
    options = kind.usage.options
    defaults = {field.name: field.default for field in fields(settings)}
    for name in options:
        if not has_argument(kind, name):
            default = None if defaults[name] == "auto" else defaults[name]
            annotation = "float | None" if default is None else type(default).__name__
            others = tuple(option for option in options if option != name)
            raise InputError(
                f"{own} has no argument {name}, which is among its usage.options: write {name}: "
                f"{annotation} = {default} in class {kind.__name__}, or usage = Usage(options="
                f"{others}) of langevin_nn.config.dynamics"
            )
    if needed := [name for name in required_arguments(kind) if name not in options]:
        name = needed[0]
        key = f", or usage = Usage(options={(*options, name)})" if name in defaults else ""
        raise InputError(
            f"{own} needs the argument {name}, which is not among its usage.options {options}: "
            f"write a default for it, {name}: float = 0.1, in class {kind.__name__}{key}"
        )


def _refuse_unused(settings: SamplerConfig, kind: type[Dynamics]) -> None:
    """Raise `InputError` for keys of [sampler] that are for a dynamics and not for this one.

    Those of the package's are refused where the configuration is read.
    """
    usage, name = kind.usage, settings.dynamics
    for item in fields(settings):
        value = getattr(settings, item.name)
        if users_of(item.name) and item.name not in usage.options and value != item.default:
            has = f"that it has are {', '.join(usage.options)}" if usage.options else "it has none"
            raise InputError(
                f'sampler.{item.name} = {value} is no key of dynamics = "{name}": write it among '
                f"usage.options of {kind.__name__}, or leave it out; the keys {has}"
            )
    step_size = settings.step_size
    if not isinstance(step_size, str) and step_size > usage.largest_step_size:
        raise InputError(
            f'sampler.step_size = {step_size:g} of dynamics = "{name}" is above its largest, '
            f'{usage.largest_step_size:g}: write step_size = "auto" or a smaller one'
        )


def until_of(settings: SamplerConfig) -> TargetError | None:
    """The rule that ends the draws; None where their number is given."""
    if not settings.has_target:
        return None
    relative, absolute = settings.target_error, settings.target_absolute_error
    return TargetError(
        relative if isinstance(relative, float | int) else errors_by_name(relative or ()),
        errors_by_name(absolute) if absolute else None,
        max_draws=settings.most_draws,
        max_seconds=math.inf if settings.max_seconds is None else settings.max_seconds,
    )


def require_room(config: RunConfig, data: Dataset, *, sampling: bool = True) -> str:
    """The warning that what the configuration describes only just fits the memory, else "".

    Raises `InputError` where it does not fit, before any of it is made.
    """
    needs = memory_needs(config, data, sampling=sampling)
    warnings = [footprint.require(parts, remedy) for parts, remedy in needs.values()]
    return next(filter(None, warnings), "")


def memory_needs(
    config: RunConfig, data: Dataset, *, sampling: bool = True
) -> dict[str, tuple[dict[str, float], str]]:
    """The bytes that a run takes in each of its stages, by what takes them, and a remedy.

    The stages come after each other: "network", "theories" (where there are some), "sampling".
    """
    counts, itemsize = config.sampler, 4 if config.precision == "float32" else 8
    network = sizes_of(config, data)
    remedy = "write fewer hidden units, training examples, test examples, chains or draws"
    needs = {"network": ({"the network": float(3 * itemsize * network.num_drawn)}, remedy)}
    if config.theory != ():
        names = THEORIES if config.theory is None else config.theory
        theories = [theory_named(name) for name in names]
        named, shape = config.theory is not None, (network.depth, network.patches)
        of_each = [theory.needs for theory in theories if named or not theory.on_request]
        if not named:
            of_each = footprint.by_default(of_each, *shape)
        theory_parts = footprint.of_theories(
            data.num_train, data.num_test, of_each, *shape, data.num_outputs
        )
        needs["theories"] = (theory_parts, "write fewer examples, or --theory [] for none")
    if sampling:
        sizes = footprint.Sizes(
            network.num_weights, network.num_units, data.num_train, data.num_test, data.num_outputs,
            counts.num_chains * counts.num_rungs, counts.most_draws, itemsize,
            config.posterior.readout == "marginalised", dynamics_named(counts.dynamics).copies,
            counts.num_chains, written=True,
            num_kept=network.num_drawn if counts.keep_weights else 0,
            num_controls=NUM_CONTROLS if counts.control_variates else 0,
            num_kernels=network.depth if "kernel" in (counts.observables or ()) else 0,
        )  # fmt: skip
        needs["sampling"] = (footprint.of_sampling(sizes), remedy)
    return needs


def sizes_of(config: RunConfig, data: Dataset) -> footprint.NetworkSizes:
    """The sizes of the network, before it is made."""
    with explained(KIND, config.network.architecture):
        sizes = network_named(config.network.architecture).sizes(config.network, data)
    what = f"what {config.network.architecture}.sizes gives"
    write = "NetworkSizes(…), or leave it to the class above"
    checked: footprint.NetworkSizes = require_kind(what, sizes, footprint.NetworkSizes, write)
    return checked


def network_of(config: RunConfig, data: Dataset, key: jax.Array) -> Network:
    """The network, drawn from a standard Gaussian. Raises `InputError` where data do not fit it."""
    kind = network_named(config.network.architecture)
    with explained(KIND, config.network.architecture):
        made = kind.from_config(config.network, data, key=key, dtype=jnp.dtype(config.precision))
        what = f"what {config.network.architecture}.from_config gives"
        network: Network = require_kind(what, made, Network, "return cls(…)")
        require_as_asked(network, kind, config)
        return network
