"""One run as a frozen, validated record: TOML in and out, a content hash as its name.

A configuration is checked when it is made: unknown keys are refused with the nearest valid one,
values of a wrong type or range with what was given and what to write. What only the data, the
network or the file system can refuse is refused by those, before anything is written.

This module imports no JAX, so that the command line answers at once.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import tomli_w

from langevin_nn.types import InputError


@dataclass(frozen=True)
class Kind:
    """What a field accepts: `parse` returns the value or raises ValueError; `expected` says it."""

    expected: str
    parse: Callable[[Any], Any]
    is_list: bool = False


def _refuse() -> None:
    raise ValueError


def _whole(minimum: int) -> Kind:
    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            _refuse()
        return int(value)

    return Kind(f"a whole number of at least {minimum}", parse)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _refuse()
    return float(value)


def _positive(value: Any) -> float:
    if not _number(value) > 0:
        _refuse()
    return float(value)


def _not_negative(value: Any) -> float:
    if not _number(value) >= 0:
        _refuse()
    return float(value)


def _step_size(value: Any) -> float | str:
    return "auto" if value == "auto" else _positive(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        _refuse()
    return bool(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        _refuse()
    return str(value)


def _choice(*names: str) -> Kind:
    def parse(value: Any) -> str:
        if value not in names:
            _refuse()
        return str(value)

    return Kind("one of " + ", ".join(f'"{name}"' for name in names), parse)


def _tuple_of(parse: Callable[[Any], Any], length: int | None = None) -> Callable[[Any], Any]:
    def parse_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or (length is not None and len(value) != length):
            _refuse()
        return tuple(parse(item) for item in value)

    return parse_all


def _classes(value: Any) -> tuple[Any, Any]:
    whole = _whole(0).parse
    if not isinstance(value, list | tuple) or len(value) != 2:
        _refuse()
    if all(isinstance(group, list | tuple) for group in value):
        return tuple(_tuple_of(whole)(group) for group in value)  # type: ignore[return-value]
    return tuple(whole(item) for item in value)  # type: ignore[return-value]


def _option(default: Any, kind: Kind, meaning: str) -> Any:
    return field(default=default, metadata={"kind": kind, "help": meaning})


@dataclass(frozen=True)
class DataConfig:
    source: str = _option(
        "digits",
        Kind('the name of a data source, for example "mnist"', _text),
        "digits, mnist, fashion_mnist, cifar10, npz, teacher_linear, teacher_network or random",
    )
    path: str = _option("", Kind("a path as a string", _text), "the .npz file, for source = npz")
    classes: tuple[Any, Any] = _option(
        (0, 1),
        Kind("two classes [0, 1] or two groups of classes [[0, 2], [1, 3]]", _classes, True),
        "two classes, or two groups of classes",
    )
    targets: tuple[float, float] = _option(
        (-1.0, 1.0),
        Kind("two numbers, for example [-1.0, 1.0]", _tuple_of(_number, 2), True),
        "the labels of the two classes",
    )
    num_train: int | None = _option(
        None, _whole(1), "P, the number of training examples (100; npz: all)"
    )
    num_test: int | None = _option(
        None, _whole(1), "P_test, the number of test examples (200; npz: all)"
    )
    standardize: bool = _option(
        True,
        Kind("true or false", _flag),
        "one mean and one standard deviation over all training pixels",
    )
    colour: bool = _option(
        False, Kind("true or false", _flag), "cifar10 in full colour, not 28x28 grey"
    )
    in_size: int = _option(100, _whole(1), "N_0 of a teacher's or random inputs")
    noise_variance: float = _option(
        0.0,
        Kind("zero or a positive number", _not_negative),
        "variance of the noise on a teacher's training labels",
    )
    teacher_width: int = _option(100, _whole(1), "hidden units of teacher_network")


@dataclass(frozen=True)
class NetworkConfig:
    hidden_widths: tuple[int, ...] = _option(
        (200,),
        Kind("a list of positive whole numbers, for example [200]", _tuple_of(_whole(1).parse), True),
        "N_1 ... N_L",
    )
    activation: str = _option(
        "erf",
        Kind('the name of an activation, for example "erf"', _text),
        "erf, relu, identity, tanh or gelu",
    )


@dataclass(frozen=True)
class PriorConfig:
    precisions: tuple[float, ...] = _option(
        (1.0, 1.0),
        Kind("a list of positive numbers, for example [1.0, 1.0]", _tuple_of(_positive), True),
        "lambda_0 ... lambda_L: one more than there are hidden layers",
    )


@dataclass(frozen=True)
class PosteriorConfig:
    temperature: float = _option(0.1, Kind("a positive number", _positive), "T = 1/beta")


@dataclass(frozen=True)
class SamplerConfig:
    dynamics: str = _option("langevin", _choice("langevin"), "the sampler's dynamics")
    step_size: float | str = _option(
        "auto",
        Kind('a positive number or "auto"', _step_size),
        "the step size eta; auto is a stated fraction of the stability limit",
    )
    num_chains: int = _option(8, _whole(1), "independent chains")
    num_warmup: int = _option(20_000, _whole(0), "steps before the first recorded draw")
    num_samples: int = _option(1_000, _whole(4), "recorded draws of each chain")
    thinning: int = _option(100, _whole(1), "steps between recorded draws")


@dataclass(frozen=True)
class RunConfig:
    """Everything that a run's numbers depend on.

    `num_train` and `num_test` that were not given are 100 and 200, and all rows for `npz`.
    """

    seed: int = _option(0, _whole(0), "of the data's selection, the initial state and the noise")
    precision: str = _option(
        "float32", _choice("float32", "float64"), "of the sampling; theory is always float64"
    )
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    posterior: PosteriorConfig = field(default_factory=PosteriorConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)

    def __post_init__(self) -> None:
        depth = len(self.network.hidden_widths)
        if len(self.prior.precisions) != depth + 1:
            raise InputError(
                f"prior.precisions has {len(self.prior.precisions)} number(s) "
                f"{list(self.prior.precisions)}, but {depth} hidden layer(s) need {depth + 1} "
                f"(λ_0 … λ_{depth}): write precisions = {[1.0] * (depth + 1)}"
            )
        if self.data.source != "npz":
            if self.data.path:
                raise InputError(
                    f'data.path = "{self.data.path}" is used by source = "npz" only, '
                    f'got source = "{self.data.source}": write source = "npz" or leave path out'
                )
            data = dataclasses.replace(
                self.data,
                num_train=100 if self.data.num_train is None else self.data.num_train,
                num_test=200 if self.data.num_test is None else self.data.num_test,
            )
            object.__setattr__(self, "data", data)
        elif not self.data.path:
            raise InputError('data.source = "npz" needs data.path: write path = "FILE.npz"')

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
        return tomli_w.dumps(self.to_dict())

    @property
    def content_hash(self) -> str:
        """Twelve hexadecimal digits that name this configuration whatever file it came from."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def options() -> dict[str, dataclasses.Field[Any]]:
    """Every field by its dotted name, `seed` to `sampler.thinning`."""
    named: dict[str, dataclasses.Field[Any]] = {}
    for item in fields(RunConfig):
        if "kind" in item.metadata:
            named[item.name] = item
        else:
            section = item.default_factory()  # type: ignore[misc]
            named |= {f"{item.name}.{inner.name}": inner for inner in fields(section)}
    return named


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """The configuration with these values (nested as in the TOML); the rest keep their defaults.

    Raises `InputError` for an unknown key, a wrong type and a value out of range.
    """
    known = options()
    sections = {name.split(".")[0] for name in known if "." in name}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in sections:
            if not isinstance(value, Mapping):
                raise InputError(f"{key} is a table: write [{key}] and its fields, got {value!r}")
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        elif isinstance(value, Mapping):
            hint = nearest(key, sorted(sections)) or f"; the tables are {', '.join(sorted(sections))}"
            raise InputError(f'unknown table "{key}"{hint}')
        else:
            flat[key] = value
    parsed = {name: _parse(name, value, known) for name, value in flat.items()}
    arguments: dict[str, Any] = {k: v for k, v in parsed.items() if "." not in k}
    for item in fields(RunConfig):
        if item.name in sections:
            prefix = item.name + "."
            inner = {k.removeprefix(prefix): v for k, v in parsed.items() if k.startswith(prefix)}
            arguments[item.name] = item.default_factory(**inner)  # type: ignore[misc]
    return RunConfig(**arguments)


def load(path: Path, overrides: Mapping[str, Sequence[str]] | None = None) -> RunConfig:
    """Read a TOML file; `overrides` are command-line words by dotted name.

    A relative `data.path` is looked for beside the file first, then in the current folder.
    Raises `InputError` if the file cannot be read or is not TOML, and as `from_dict` does.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise InputError(f"cannot read the configuration {path}: {reason}") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}") from error
    for name, words in (overrides or {}).items():
        _set(values, name, words)
    config = from_dict(values)
    if config.data.path:
        beside = path.parent / config.data.path
        absolute = str((beside if beside.exists() else Path(config.data.path)).resolve())
        config = dataclasses.replace(
            config, data=dataclasses.replace(config.data, path=absolute)
        )
    return config


def nearest(name: str, valid: Sequence[str]) -> str:
    """A hint `; did you mean "…"?`, or nothing where no valid name is near."""
    close = difflib.get_close_matches(name, valid, n=1, cutoff=0.5)
    if not close:
        last = {option.split(".")[-1]: option for option in valid}
        close = [last[match] for match in difflib.get_close_matches(name.split(".")[-1], last, n=1)]
    return f'; did you mean "{close[0]}"?' if close else ""


def _parse(name: str, value: Any, known: Mapping[str, dataclasses.Field[Any]]) -> Any:
    if name not in known:
        raise InputError(f'unknown key "{name}"' + (nearest(name, tuple(known)) or _listing(known)))
    kind = known[name].metadata["kind"]
    try:
        return kind.parse(value)
    except ValueError:
        raise InputError(f"{name} must be {kind.expected}, got {value!r}") from None


def _listing(known: Mapping[str, Any]) -> str:
    return "; the keys are " + ", ".join(known)


def _set(values: dict[str, Any], name: str, words: Sequence[str]) -> None:
    """Put command-line words where the TOML would have them."""
    known = options()
    if name not in known:
        _parse(name, None, known)
    kind = known[name].metadata["kind"]
    literals = [_literal(word) for word in words]
    value: Any = literals
    if len(literals) == 1 and (not kind.is_list or isinstance(literals[0], list)):
        value = literals[0]
    *section, key = name.split(".")
    table = values.setdefault(section[0], {}) if section else values
    if not isinstance(table, dict):
        raise InputError(f"{section[0]} is a table: write [{section[0]}], got {table!r}")
    table[key] = value


def _literal(word: str) -> Any:
    """A TOML value if the word is one, else the word itself."""
    try:
        return tomllib.loads(f"value = {word}")["value"]
    except tomllib.TOMLDecodeError:
        return word
