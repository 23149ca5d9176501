"""One run as a frozen, validated record: TOML in and out, a content hash as its name.

A configuration is checked when it is made: unknown keys are refused with the nearest valid one,
values of a wrong type or range with what was given and what to write. What only the data, the
network or the file system can refuse is refused by those, before anything is written.

This module imports no JAX, so that the command line answers at once.
"""

import dataclasses
import functools
import hashlib
import json
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import tomli_w

from langevin_nn.config.fields import NAMES, Kind, choice, toml, whole
from langevin_nn.config.losses import DEFAULT
from langevin_nn.config.nearby_files import content_of, located
from langevin_nn.config.other_names import nearest_field
from langevin_nn.config.sampler import AUTO, SamplerConfig
from langevin_nn.config.sections import (
    DEFAULT_CLASSES,
    DEFAULT_TARGETS,
    UNUSED_LABELS,
    Checked,
    DataConfig,
    NetworkConfig,
    PosteriorConfig,
    PriorConfig,
    option,
    with_labels_as_used,
)
from langevin_nn.errors import InputError
from langevin_nn.import_paths import ModuleFile, files_of, in_folder, is_import_path
from langevin_nn.richness import Scaled, scaled
from langevin_nn.values import as_path, clipped, nearest, require_ladder, shown

__all__ = [
    "SECTIONS",
    "DataConfig",
    "NetworkConfig",
    "PosteriorConfig",
    "PriorConfig",
    "RunConfig",
    "SamplerConfig",
    "from_dict",
    "load",
    "located",
    "modules_of",
    "options",
    "override",
    "read",
]


@dataclass(frozen=True)
class RunConfig(Checked):
    """Everything that a run's numbers depend on.

    `num_train`, `num_test`, `classes` and `targets` that were not given are 100, 200, (0, 1) and
    (-1, 1); for `npz` they stay None: all rows, and the targets that are in the file.
    """

    seed: int = option(
        0,
        whole(0, 2**63 - 1),
        "of the data's selection, the initial state and the noise",
        usual=True,
    )
    precision: str = option(
        "float32", choice("float32", "float64"), "of the sampling; theory is always float64"
    )
    theory: tuple[str, ...] | None = option(
        None, NAMES, "the theories by name; left out: all that apply", of="theory"
    )
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_precisions()
        self._check_ladder()
        self._check_richness()
        if self.sampler.control_variates and self.posterior.readout != "marginalised":
            raise InputError(
                "sampler.control_variates = true is known for a read-out that is integrated out, "
                f'got posterior.readout = "{self.posterior.readout}": write readout = '
                '"marginalised", or control_variates = false'
            )
        if self.data.source != "npz":
            if self.data.path and not is_import_path(self.data.source):
                raise InputError(
                    f'data.path = "{self.data.path}" is used by source = "npz" only, '
                    f'got source = "{self.data.source}": write source = "npz" or leave path out'
                )
            data = dataclasses.replace(
                self.data,
                num_train=100 if self.data.num_train is None else self.data.num_train,
                num_test=200 if self.data.num_test is None else self.data.num_test,
                classes=DEFAULT_CLASSES if self.data.classes is None else self.data.classes,
                targets=DEFAULT_TARGETS if self.data.targets is None else self.data.targets,
            )
            self._resolve(data=data)
        elif not self.data.path:
            raise InputError('data.source = "npz" needs data.path: write path = "FILE.npz"')

    def _check_precisions(self) -> None:
        """Give each layer its precision, 1 by default; refuse another number of them."""
        depth, names = len(self.network.hidden_widths), self.network.layer_names
        ones, prior = (1.0,) * len(names), self.prior
        if not prior.precisions:
            prior = dataclasses.replace(prior, precisions=ones)
        number = len(names)
        if is_import_path(self.network.architecture):  # how many it has, it says when it is made
            number = len(prior.precisions)
            ones = (1.0,) * number
        if len(prior.precisions) != number:
            raise InputError(
                f"prior.precisions has {len(prior.precisions)} number(s) "
                f"{list(prior.precisions)}, but {depth} hidden layer(s) need {len(names)} "
                f"({names[0]} … {names[-1]}): write precisions = {list(ones)}"
            )
        given = prior.bias_precisions
        if given and not self.network.biases:
            raise InputError(
                f"prior.bias_precisions = {list(given)}, but the network has no biases: write "
                "biases = true under [network], or leave bias_precisions out"
            )
        if given and len(given) != number:
            raise InputError(
                f"prior.bias_precisions has {len(given)} number(s) {list(given)}, but {depth} "
                f"hidden layer(s) need {number}, the read-out's last: write bias_precisions = "
                f"{list(ones)}"
            )
        if self.network.biases and not given:
            prior = dataclasses.replace(prior, bias_precisions=ones)
        self._resolve(prior=prior)

    def _check_ladder(self) -> None:
        """Sort the ladder; refuse temperatures that are equal, or not above the posterior's."""
        given, lowest = self.sampler.ladder, self.posterior.temperature
        if given == AUTO and self.sampler.keep_weights:
            raise InputError(
                "sampler.keep_weights = true needs the number of temperatures, which ladder = "
                '"auto" chooses: write the temperatures that a run without the weights has chosen, '
                "or keep_weights = false"
            )
        if not given or given == AUTO:
            return
        rungs = require_ladder("sampler.ladder", given, lowest, "posterior.temperature")
        sampler = dataclasses.replace(self.sampler, ladder=rungs)
        self._resolve(sampler=sampler)

    def _check_richness(self) -> None:
        """Refuse a richness without a hidden layer, and one that float64 has no precision for."""
        if self.posterior.richness is not None:
            try:
                self._scaled(self.posterior.richness)
            except InputError as error:
                raise InputError(f"posterior.{error}") from None

    def _scaled(self, richness: float) -> Scaled:
        """The precisions and the temperature of the standard scaling that are this run's."""
        prior, widths = self.prior, self.network.hidden_widths
        biases, temperature = prior.bias_precisions or None, self.posterior.temperature
        return scaled(richness, widths, prior.precisions, biases, temperature)

    @functools.cached_property
    def in_standard_scaling(self) -> "RunConfig":
        """The same posterior without `richness`: λ_L, the read-out's λ_b, T and a ladder as used.

        A configuration without richness is this one itself.

        >>> rich = from_dict({"posterior": {"richness": 0.5, "temperature": 0.1}})  # N_L = 200
        >>> used = rich.in_standard_scaling
        >>> used.prior.precisions, used.posterior.temperature
        ((1.0, 50.0), 0.002)
        """
        if (richness := self.posterior.richness) is None:
            return self
        numbers, ladder = self._scaled(richness), self.sampler.ladder
        if not isinstance(ladder, str):
            ladder = tuple(rung / numbers.factor for rung in ladder)
        biases, change = numbers.bias_precisions or (), dataclasses.replace
        return change(
            self,
            prior=change(self.prior, precisions=numbers.precisions, bias_precisions=biases),
            posterior=change(self.posterior, temperature=numbers.temperature, richness=None),
            sampler=change(self.sampler, ladder=ladder),
        )

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as in the TOML; fields that were left open are absent."""

        def plain(value: Any) -> Any:
            if dataclasses.is_dataclass(value):
                pairs = ((f.name, getattr(value, f.name)) for f in fields(value))
                return {name: plain(item) for name, item in pairs if item is not None}
            return [plain(item) for item in value] if isinstance(value, tuple) else value

        result = plain(self)
        assert isinstance(result, dict)
        return result

    def to_toml(self) -> str:
        """The configuration as the text of a TOML file."""
        return tomli_w.dumps(self.to_dict())

    @functools.cached_property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that name this configuration whatever file it came from.

        They are those of version 0.1, so that old folders keep their names: without the squared
        loss, and without flags of [sampler] that are younger and at their defaults, and with the
        default classes and targets where a file's y is used as it is.
        """
        values = self.to_dict()
        if self.data.source == "npz" and self.data.classes is None:
            values["data"] |= UNUSED_LABELS
        if self.posterior.loss == DEFAULT:
            del values["posterior"]["loss"]
        for name, default in (
            ("keep_weights", False), ("keep_state", True), ("control_variates", False)
        ):  # fmt: skip
            if values["sampler"][name] == default:
                del values["sampler"][name]
        content = json.dumps(values, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


SECTIONS: Mapping[str, type[Checked]] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "prior": PriorConfig,
    "posterior": PosteriorConfig,
    "sampler": SamplerConfig,
}


def options() -> dict[str, dataclasses.Field[Any]]:
    """All fields of a configuration by their dotted names, `seed` to `sampler.thinning`."""
    named = {item.name: item for item in fields(RunConfig) if "kind" in item.metadata}
    for section, record in SECTIONS.items():
        named |= {f"{section}.{item.name}": item for item in fields(record)}
    return named


def from_dict(values: Mapping[str, Any], folder: Path | None = None) -> RunConfig:
    """The configuration with these values (nested as in the TOML); the rest keep their defaults.

    Modules of import paths are looked for in `folder` first (`import_paths`).

    Raises `InputError` for an unknown key, a wrong type and a value out of range.
    """
    if not isinstance(values, Mapping):
        raise InputError(
            f"a configuration's values are nested as in its TOML, got {shown(values)}: write "
            '{"data": {…}, …}, or load(PATH) for a file'
        )
    known = options()
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key in SECTIONS:
            if not isinstance(value, Mapping):
                raise InputError(
                    f"{key} is a table: write [{key}] and its fields, got {shown(value)}"
                )
            inner = {
                name: _parsed(f"{key}.{name}", item, known, folder) for name, item in value.items()
            }
            arguments[key] = SECTIONS[key](**inner)
        elif isinstance(value, Mapping):
            hint = nearest(key, list(SECTIONS)) or f"; the tables are {', '.join(SECTIONS)}"
            raise InputError(f'unknown table "{clipped(key)}"{hint}')
        elif "." in key and key in known:
            section, name = key.split(".")
            raise InputError(f'"{key}" is a field of a table: write {name} under [{section}]')
        else:
            arguments[key] = _parsed(key, value, known, folder)
    return RunConfig(**arguments)


def load(path: Path, overrides: Mapping[str, Sequence[str] | None] | None = None) -> RunConfig:
    """Read a TOML file; `overrides` are command-line words by dotted name, None for none.

    A relative `data.path` is looked for beside the file first, then in the current folder.
    Raises `InputError` if the file cannot be read or is not TOML, and as `from_dict` does.
    """
    path = as_path("path", path)
    values = read(path, overrides)
    if "sweep" in values:
        raise InputError(
            f"{path} has a [sweep] table, it is a grid of runs: write langevin-nn sweep {path}"
        )
    return from_dict(values, path.parent)


def read(path: Path, overrides: Mapping[str, Sequence[str] | None] | None = None) -> dict[str, Any]:
    """The values of the file and of `overrides`, as `load` has them before they are checked."""
    content = content_of(path)
    try:
        values = toml(content)
    except ValueError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    values = with_labels_as_used(values, path)
    for name, words in (overrides or {}).items():
        override(values, name, words)
    data = values.get("data")
    if isinstance(data, dict) and isinstance(data.get("path"), str):
        if data.get("source") == "npz" or is_import_path(data.get("source")):
            data["path"] = located(data["path"], path.parent)
    return values


def _parsed(
    name: str, value: Any, known: Mapping[str, dataclasses.Field[Any]], folder: Path | None
) -> Any:
    checked = _kind(name, known).check(name, value)
    return in_folder(checked, folder) if known[name].metadata["of"] else checked


def modules_of(config: RunConfig) -> tuple[ModuleFile, ...]:
    """The files of the modules that the configuration names, as they are now.

    Raises `InputError` for one that is not there.
    """
    paths: list[tuple[str, str]] = []
    for name, item in options().items():
        if kind := item.metadata["of"]:
            value = operator.attrgetter(name)(config)
            names = (value,) if isinstance(value, str) else value or ()
            paths += [(kind, name) for name in names]
    return files_of(paths)


def _kind(name: str, known: Mapping[str, dataclasses.Field[Any]]) -> Kind:
    if name not in known:
        section = name.partition(".")[0]
        keys = [key for key in known if key.partition(".")[0] == section or "." not in key]
        hint = nearest_field(name, tuple(known)) or (
            f"; the keys are {', '.join(keys)}"
            + (
                f", and those of the tables {', '.join(SECTIONS)}"
                if section not in SECTIONS
                else ""
            )
        )
        raise InputError(f'unknown key "{clipped(name)}"{hint}')
    kind = known[name].metadata["kind"]
    assert isinstance(kind, Kind)
    return kind


def override(values: dict[str, Any], name: str, words: Sequence[str] | None) -> None:
    """Put command-line words into nested values, where the TOML would have them; None removes."""
    kind = _kind(name, options())
    *section, key = name.split(".")
    table = values.setdefault(section[0], {}) if section else values
    if isinstance(table, dict) and words is None:
        table.pop(key, None)
    elif isinstance(table, dict):  # else from_dict says what is wrong
        table[key] = kind.from_words(words or ())


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields in nested tables by their dotted names.

    >>> flat({"seed": 0, "data": {"source": "digits"}})
    {'seed': 0, 'data.source': 'digits'}
    """
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields
