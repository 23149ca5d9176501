"""Which ensembles a theory describes, and why not the others."""

from typing import Any

from langevin_nn.config.losses import loss_usage
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.types import EnsembleSpec, NotApplicable
from langevin_nn.values import require_kind

__all__ = ["require", "require_ensemble", "require_spec", "require_squared"]


def require_ensemble(ensemble: Any) -> None:
    """Raise `InputError` unless this is an ensemble with its data.

    >>> require_ensemble(5)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: ensemble must be an Ensemble, got 5: write posterior.ensemble, or Ensemble(spec, data)
    """  # noqa: E501
    write = "posterior.ensemble, or Ensemble(spec, data)"
    require_kind("ensemble", ensemble, Ensemble, write)


def require_squared(ensemble: Ensemble) -> None:
    """Raise `NotApplicable` for an ensemble with another loss than the squared one.

    >>> data = two_points(1.0, -1.0)
    >>> require_squared(Ensemble(EnsembleSpec(2, (), None, (1.0,), 0.1, loss="hinge"), data))
    Traceback (most recent call last):
    langevin_nn.errors.NotApplicable: it is of the squared loss, this ensemble has hinge: write loss = "squared", or theory = [] for none
    """  # noqa: E501
    if not loss_usage(ensemble.spec.loss).is_gaussian:
        raise NotApplicable(
            f"it is of the squared loss, this ensemble has {ensemble.spec.loss}: write "
            'loss = "squared", or theory = [] for none'
        )


def require_spec(spec: Any) -> None:
    """Raise `InputError` unless this is an ensemble's spec.

    >>> require_spec(5)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: spec must be an EnsembleSpec, got 5: write posterior.spec
    """
    require_kind("spec", spec, EnsembleSpec, "posterior.spec")


def require(
    theory: str,
    ensemble: Ensemble,
    *,
    depth: int | None = None,
    least_width: int = 1,
    several_outputs: bool = False,
    convolutional: bool | None = False,
    any_loss: bool = False,
) -> tuple[int, ...]:
    """The hidden widths of an ensemble that `theory` describes; NotApplicable with the reason else.

    Args:
        theory: its name, for the message.
        ensemble: the ensemble.
        depth: the only number of hidden layers, None for any but zero.
        least_width: the smallest number of hidden units.
        several_outputs: whether D > 1 is described.
        convolutional: whether convolutional networks are described, and no others; None for both.
        any_loss: whether losses other than the squared one are described.

    >>> data = two_points(1.0, -1.0)
    >>> spec = EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1)
    >>> require("one_layer", Ensemble(spec, data), depth=1)
    (50,)
    """
    require_ensemble(ensemble)
    spec = ensemble.spec
    if spec.hidden_widths is None or spec.own_layers is not None:
        raise NotApplicable(
            f"{theory} describes {_network_described(depth, convolutional)}, "
            f"not {spec.architecture}"
        )
    if convolutional is (spec.patches is None):
        raise NotApplicable(
            f"{theory} describes {_network_described(depth, convolutional)}, this network is "
            + ("fully connected" if convolutional else "convolutional")
        )
    layers = len(spec.hidden_widths)
    if layers == 0 or depth not in (None, layers):
        wanted = "hidden layers" if depth is None else "one hidden layer"
        raise NotApplicable(f"{theory} describes {wanted}, this network has {layers}")
    if spec.num_outputs > 1 and not several_outputs:
        raise NotApplicable(f"{theory} describes one output, this network has {spec.num_outputs}")
    if min(spec.hidden_widths) < least_width:
        raise NotApplicable(
            f"{theory} needs at least {least_width} hidden units, this network has "
            f"{min(spec.hidden_widths)}"
        )
    if not any_loss:
        require_squared(ensemble)
    return spec.hidden_widths


def _network_described(depth: int | None, convolutional: bool | None) -> str:
    if convolutional:
        return "one convolutional layer"
    layers = "hidden layers" if depth is None else "one hidden layer"
    kinds = "FullyConnected" if convolutional is False else "FullyConnected or Convolutional"
    return f"{layers} of a {kinds} network"
