"""What a theory may know: the ensemble and its data, without the network."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jaxtyping import Float, Int

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import require_own_dual
from langevin_nn.model.losses import LOSSES, Loss, require_loss
from langevin_nn.types import EnsembleSpec, InputError
from langevin_nn.values import nearest, require_kind

__all__ = ["Beside", "Drawn", "Ensemble"]

T = TypeVar("T")


class Drawn(NamedTuple):
    """What networks of the user's own class `kind`, drawn from the prior, are.

    `grams(places, n)` are the Gram matrices (n, P, P) of n networks at the training inputs of these
    indices. Networks with the same `identity` have the same law.
    """

    kind: type
    identity: Any
    grams: Callable[[Int[np.ndarray, " P"], int], Float[np.ndarray, "n P P"]]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """p(θ) ∝ exp(−β𝓛(θ)) as a theory sees it: `spec` says which, `data` what 𝓛 is made of.

    A posterior has its own, `posterior.ensemble`. What several theories need of it, such as the
    decomposed Gram matrix, they make once and keep here (`once`). An ensemble that comes from an
    `origin`, as `at` makes it, may take over what is common to both. `drawn`, of a network of the
    user's own, is what its layers are held against. `loss` is ℓ itself, of which `spec` has the
    name: by default the package's loss of this name with its default numbers, and None for a loss
    of the user's own that is not given.

    Raises `InputError` for anything but an EnsembleSpec and a Dataset, in this order, for an
    activation whose dual is another function's, and for a loss of another name than the spec's.

    >>> data = two_points(1.0, -1.0)
    >>> ensemble = Ensemble(EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1), data)
    >>> ensemble.at(hidden_widths=(200,), temperature=1.0).spec.hidden_widths
    (200,)
    >>> ensemble.at(loss="hinge").loss
    Hinge(power=2, margin=1.0)
    """

    spec: EnsembleSpec
    data: Dataset
    origin: "Ensemble | None" = field(default=None, repr=False)
    drawn: Drawn | None = field(default=None, repr=False)
    loss: Loss | None = field(default=None, repr=False)
    _made: dict[Any, Any] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        require_kind("spec", self.spec, EnsembleSpec, "posterior.spec")
        if self.spec.activation is not None:
            require_own_dual(self.spec.activation)
        require_kind("data", self.data, Dataset, "load_dataset(…), after the ensemble's spec")
        if self.origin is not None:
            require_kind("origin", self.origin, Ensemble, "posterior.ensemble, or leave it out")
        if self.loss is None and (kind := LOSSES.get(self.spec.loss)) is not None:
            object.__setattr__(self, "loss", kind())
        if self.loss is not None and require_loss(self.loss).name != self.spec.loss:
            raise InputError(
                f"the ensemble's spec has the {self.spec.loss} loss, and its loss is the "
                f'{self.loss.name} loss: write EnsembleSpec(…, loss="{self.loss.name}")'
            )

    def at(self, **changes: Any) -> "Ensemble":
        """The ensemble of the same data with other fields of its `spec`: widths, T, λ, ….

        Its `origin` is that of this ensemble, or this ensemble itself.

        Raises:
            InputError: a field that an EnsembleSpec does not have, or a value it does not take.
        """
        known = [attribute.name for attribute in fields(EnsembleSpec)]
        for name in changes:
            if name not in known:
                hint = nearest(name, known) or f": known are {', '.join(known)}"
                raise InputError(f"an EnsembleSpec has no field {name!r}{hint}")
        return self._at(replace(self.spec, **changes))

    def at_richness(self, richness: float) -> "Ensemble":
        """The ensemble whose λ_L and T are those of this one at a richness γ (`richness`).

        Its `spec` has λ_L N_L γ² and T/(N_L γ²), and its `origin` is as in `at`.

        >>> spec = EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1)
        >>> Ensemble(spec, two_points(1.0, -1.0)).at_richness(1.0).spec.prior_precisions
        (1.0, 50.0)
        """
        return self._at(self.spec.at_richness(richness))

    def _at(self, spec: EnsembleSpec) -> "Ensemble":
        loss = self.loss if spec.loss == self.spec.loss else None
        return Ensemble(spec, self.data, self.origin or self, loss=loss)

    def once(self, make: Callable[["Ensemble"], T]) -> T:
        """make(self), computed the first time that it is asked for and kept."""
        if make not in self._made:
            self._made[make] = make(self)
        result: T = self._made[make]
        return result

    @property
    def kept_bytes(self) -> int:
        """The bytes of the arrays that `once` has kept."""
        return sum(map(_bytes_of, self._made.values()))

    def __reduce__(self) -> Any:
        """How pickle rebuilds an ensemble: a copy, or another process, makes anew what is kept."""
        return Ensemble, (self.spec, self.data, None, None, self.loss)


def _bytes_of(value: Any) -> int:
    """The bytes of an array, or of all those of a sequence or of a dataclass's fields."""
    if isinstance(value, np.ndarray | jax.Array):
        return value.nbytes
    if isinstance(value, tuple | list):
        return sum(map(_bytes_of, value))
    return sum(map(_bytes_of, vars(value).values())) if is_dataclass(value) else 0


@dataclass(frozen=True, eq=False)
class Beside:
    """Data that a posterior carries for its `ensemble`, and that no compiled program depends on.

    As a static field it is equal to any other, so that other data compile nothing anew; posteriors
    that are stacked have that of the first.
    """

    data: Dataset | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Beside)

    def __hash__(self) -> int:
        return hash(Beside)
