"""The tables of a configuration, [data] to [sampler]: fields, what they accept, what they mean."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from langevin_nn.config.architectures import ARCHITECTURES, check_widths, layer_names
from langevin_nn.config.fields import (
    CLASS_NAMES,
    CLASSES,
    FLAG,
    NOT_NEGATIVE,
    POSITIVE,
    RICHNESS,
    TARGETS,
    Kind,
    choice,
    choice_or_path,
    class_numbers,
    described,
    text,
    tuple_of,
    whole,
)
from langevin_nn.config.losses import DEFAULT, HINGE, LOSS_USAGES, loss_usage
from langevin_nn.errors import InputError

TEACHERS = ("teacher_linear", "teacher_network", "random")
"""The data sources whose inputs and targets are drawn: `data.teachers` draws them."""
SOURCES = (*CLASS_NAMES, "npz", *TEACHERS)
"""The data sources by their names in a configuration."""
ACTIVATION_NAMES = ("erf", "relu", "identity", "tanh", "gelu", "swish10", "softplus5")
"""The names of `model.activations.ACTIVATIONS`, which needs JAX: a test holds them together."""


def option(
    default: Any,
    kind: Kind,
    meaning: str,
    *,
    of: str = "",
    sources: tuple[str, ...] = SOURCES,
    usual: bool = False,
) -> Any:
    """A field; `of` says what it names, where that may be the user's own, by import path.

    `sources` are the data sources that read it; a `usual` one is set by most configurations.
    """
    if of:
        meaning += ", or module:name"
    metadata = {"kind": kind, "help": meaning, "of": of, "sources": sources, "usual": usual}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Checked:
    """A record whose fields are checked when it is made, and hold from then on what a run uses.

    A field that was left open gets its default then, and another spelling its own.
    """

    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if "kind" in item.metadata and not (value is None and item.default is None):
                item.metadata["kind"].check(self.prefix + item.name, value)

    def _resolve(self, **values: Any) -> None:
        """Give fields what a run uses in place of what was written; only while it is made."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


PLACEHOLDER_PATH = "YOUR_FILE.npz"
"""The `data.path` of a configuration that was begun without one: a name to be written over."""


@dataclass(frozen=True)
class DataConfig(Checked):
    """The table [data]: the source of the task, its classes and targets, and how many examples."""

    prefix = "data."

    source: str = option(
        "digits",
        text('the name of a data source, for example "mnist"', *SOURCES),
        ", ".join(SOURCES),
        of="data source",
        usual=True,
    )
    path: str = option(
        "",
        text("a path as a string"),
        "the .npz file of npz, or what a source of yours reads",
        sources=("npz",),
    )
    classes: tuple[Any, ...] | None = option(
        None,
        CLASSES,
        "two or more classes, or groups of classes, by label or name (0 1; npz: y as it is)",
        sources=(*CLASS_NAMES, "npz"),
        usual=True,
    )
    targets: tuple[float, float] | str | None = option(
        None,
        TARGETS,
        "of two classes (-1 1; npz: y as it is); one_hot or centred: one output for each class",
        sources=(*CLASS_NAMES, "npz", "random"),
    )
    num_train: int | None = option(
        None, whole(1), "P, the number of training examples (100; npz: all)", usual=True
    )
    num_test: int | None = option(
        None, whole(1), "P_test, the number of test examples (200; npz: all)", usual=True
    )
    standardize: bool = option(
        True, FLAG, "one mean and one standard deviation over all training pixels"
    )
    colour: bool = option(
        False, FLAG, "cifar10 in full colour, not 28x28 grey", sources=("cifar10",)
    )
    in_size: int = option(
        100, whole(1), "N_0 of a teacher's or random inputs", sources=TEACHERS, usual=True
    )
    noise_variance: float = option(
        0.0, NOT_NEGATIVE, "variance of Gaussian noise on the training labels"
    )
    teacher_width: int = option(
        100, whole(1), "hidden units of teacher_network", sources=("teacher_network",)
    )
    num_components: int | None = option(
        None,
        whole(1),
        "images: this many principal components (default: all pixels)",
        sources=tuple(CLASS_NAMES),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        classes = self.classes
        if self.source == "npz" and self.targets is not None and classes is None:
            raise InputError(
                f"data.targets = {self.targets!r} are the targets of classes, and for a file of "
                "your own these are not known: write classes = [0, 1], or which labels the file "
                "has, or leave targets out if y holds targets"
            )
        if classes is None:
            return
        if self.source in CLASS_NAMES:
            classes = class_numbers(self.source, classes)
        elif self.source == "npz":  # as groups: see UNUSED_LABELS
            classes = tuple(group if isinstance(group, tuple) else (group,) for group in classes)
            self._resolve(targets=DEFAULT_TARGETS if self.targets is None else self.targets)
        self._resolve(classes=classes)


def with_labels_as_used(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The values of a run folder's configuration, without the classes that version 0.1 ignored.

    Version 0.1 used the y of a file as it is, and stored the default classes beside it; today,
    classes that are used are stored as groups. A file that is in no run folder means what it says.
    """
    beside = (path.parent / name for name in ("summary.json", "checkpoint", "manifest.json"))
    data = values.get("data")
    if path.name != "config.toml" or not any(map(Path.exists, beside)):
        return values
    if not isinstance(data, dict) or data.get("source") != "npz":
        return values
    if {name: data.get(name) for name in UNUSED_LABELS} != UNUSED_LABELS:
        return values
    return values | {"data": {k: v for k, v in data.items() if k not in UNUSED_LABELS}}


@dataclass(frozen=True)
class NetworkConfig(Checked):
    """The table [network]: the architecture, its widths, its activation and its biases."""

    prefix = "network."

    architecture: str = option(
        "fully_connected",
        choice_or_path(*ARCHITECTURES),
        described(ARCHITECTURES),
        of="architecture",
    )
    hidden_widths: tuple[int, ...] = option(
        (200,),
        tuple_of(whole(1), "a list of positive whole numbers, for example [200]"),
        "N_1 ... N_L; convolutional: the number of channels",
        usual=True,
    )
    activation: str = option(
        "erf",
        text('the name of an activation, for example "erf"', *ACTIVATION_NAMES),
        ", ".join(ACTIVATION_NAMES),
        of="activation",
        usual=True,
    )
    biases: bool = option(False, FLAG, "a bias in each layer, the read-out's included")
    patch_size: int = option(4, whole(1), "convolutional: pixels on each side of a patch")
    stride: int = option(4, whole(1), "convolutional: pixels from one patch to the next")

    @property
    def layer_names(self) -> tuple[str, ...]:
        """The names λ_0 … λ_L of the prior precisions that a network of these widths has."""
        return layer_names(self.hidden_widths)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_widths(self.architecture, self.hidden_widths)


@dataclass(frozen=True)
class PriorConfig(Checked):
    """The table [prior]: the precisions of the weights and of the biases of each layer."""

    prefix = "prior."

    precisions: tuple[float, ...] = option(
        (),
        tuple_of(POSITIVE, "a list of positive numbers, for example [1.0, 1.0]"),
        "lambda_0 ... lambda_L, one more than there are hidden layers; left out: all 1",
    )
    bias_precisions: tuple[float, ...] = option(
        (),
        tuple_of(POSITIVE, "a list of positive numbers, for example [1.0, 1.0]"),
        "with network.biases, the biases' precisions of layers 0 ... L; left out: all 1",
    )


@dataclass(frozen=True)
class PosteriorConfig(Checked):
    """The table [posterior]: temperature, richness, loss, and how the read-out is treated."""

    prefix = "posterior."

    temperature: float = option(0.1, NOT_NEGATIVE, "T = 1/beta; 0 for theory only", usual=True)
    richness: float | None = option(
        None,
        RICHNESS,
        "gamma, how much features are learned: lambda_L N_L gamma^2 and T/(N_L gamma^2) in place "
        "of lambda_L and T, from 1/sqrt(N_L), lazy, to 1, rich; left out: lambda_L and T as they "
        "are, which is 1/sqrt(N_L)",
    )
    readout: str = option(
        "sampled",
        choice("sampled", "marginalised"),
        "the read-out's weights: sampled, or marginalised, integrated out exactly",
    )
    loss: str = option(
        DEFAULT,
        choice_or_path(*LOSS_USAGES),
        "of an output f and its target y: "
        + "; ".join(f"{usage.name}, {usage.summary}" for usage in LOSS_USAGES.values()),
        of="loss",
    )
    hinge_power: int | None = option(
        None,
        whole(1, 2),
        f"hinge: max(0, margin - y f)^power / power, 1 or 2 (default {HINGE.default('power')})",
    )
    margin: float | None = option(
        None, POSITIVE, f"hinge: the margin (default {HINGE.default('margin'):g})"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        own_usage = loss_usage(self.loss)
        if self.readout == "marginalised" and not own_usage.is_gaussian:
            raise InputError(
                f'posterior.readout = "marginalised" integrates out a Gaussian, which the read-out '
                f'is with loss = "{DEFAULT}" alone, got loss = "{self.loss}": write '
                'readout = "sampled"'
            )
        for usage in LOSS_USAGES.values():
            for key, number in usage.numbers.items():
                value = getattr(self, key)
                if usage is own_usage:
                    self._resolve(**{key: number.default if value is None else value})
                elif value is not None:
                    raise InputError(
                        f'posterior.{key} = {value} is used by loss = "{usage.name}" only, got '
                        f'loss = "{self.loss}": write loss = "{usage.name}" or leave it out'
                    )


DEFAULT_CLASSES, DEFAULT_TARGETS = (0, 1), (-1.0, 1.0)
"""The classes and targets of every source but npz, where none were written."""
UNUSED_LABELS = {"classes": list(DEFAULT_CLASSES), "targets": list(DEFAULT_TARGETS)}
"""The classes and targets in a run folder of version 0.1 whose file's y was used as it is."""
