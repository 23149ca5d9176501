"""Records: the package's JSON files, with a checksum, and what a summary must be made of."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from langevin_nn.files import Unreadable, require_file

SUM = "sha256"
"""The key of a record's own checksum."""
LARGEST = 10**300
"""Whole numbers above are no floating-point ones."""


def record(content: Mapping[str, Any]) -> str:
    """The text of a JSON file. Raises ValueError for numbers that JSON does not have."""
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its own checksum, which `read_record` verifies."""
    return {**content, SUM: _sum(content)}


def read_record(path: Path) -> dict[str, Any]:
    """The table in a JSON file; its checksum, where it is `sealed`, verified and left out.

    Raises `Unreadable` for a file that cannot be read or is no table, and for a wrong checksum.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise Unreadable("it is no table")
    stated = content.pop(SUM, None)
    if stated not in (None, _sum(content)):
        raise Unreadable("it was changed: its checksum is another")
    return content


def read_json(path: Path) -> Any:
    """What is in a JSON file. Raises `Unreadable`."""
    require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refused)
    except Unreadable:
        raise
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from error
    except RecursionError as error:
        raise Unreadable("it is nested too deeply") from error
    except UnicodeDecodeError as error:
        raise Unreadable("it is no text in UTF-8") from error
    except ValueError as error:  # no JSON, or a number of thousands of digits
        raise Unreadable(f"it is no JSON: {error}") from error


def check_summary(summary: Mapping[str, Any]) -> None:
    """Raise `Unreadable` for what is no summary: parts that are absent or of another kind."""
    experiment = _table(summary, "experiment")
    for name in ("bias2", "variance", "generalisation_error", "train_error"):
        _check_numbers(_table(experiment, name), ("value", "mcse"))
    _check_numbers(experiment, ("test_accuracy", "rhat_max", "ess_min", "step_size"))
    _check_numbers(experiment, ("acceptance", "test_accuracy_mcse", "wall_seconds"))
    _check_kind(experiment, "converged", bool)
    _check_kind(experiment, "message", str)
    for theory in _table(summary, "theory"):
        numbers = _table(summary["theory"], theory)
        _check_numbers(numbers, ("bias2", "variance", "generalisation_error", "train_error"))
        _check_numbers(numbers, ("test_accuracy", "log_evidence"))
        _check_numbers(_table(numbers, "mcse", {}), tuple(numbers.get("mcse", {})))
        _check_kind(numbers, "converged", bool)
        _check_kind(numbers, "message", str)
        _check_kind(numbers, "order_parameters", list)
        _check_orders(numbers["order_parameters"])
    reasons = _table(summary, "not_applicable", {})
    for theory in reasons:
        _check_kind(reasons, theory, str)
    _check_numbers(summary, ("criterion",))
    ends = summary.get("eigenvalues")
    if ends is not None and not (isinstance(ends, list) and len(ends) == 2):
        raise Unreadable("its eigenvalues are no pair")
    _check_orders(ends or [])
    if "tempering" in summary:
        ladder = _table(summary, "tempering")
        _check_kind(ladder, "rungs", list)
        _check_orders(ladder.get("swap_acceptance"))
        _check_kind(ladder, "message", str)
        rungs = {f"rung {i}": rung for i, rung in enumerate(ladder["rungs"])}
        for name in rungs:
            rung = _table(rungs, name)
            _check_numbers(rung, ("temperature", "log_evidence_quadrature", "rhat_max", "ess_min"))
            for each in ("bias2", "variance", "train_error", "log_evidence"):
                _check_numbers(_table(rung, each), ("value", "mcse"))


def _sum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refused(word: str) -> Any:
    raise Unreadable(f"{word} is no JSON")


def _table(values: Mapping[str, Any], name: str, default: Any = None) -> Mapping[str, Any]:
    part = values.get(name, default)
    if not isinstance(part, Mapping):
        raise Unreadable(f"its {name} is no table" if name in values else f"it lacks the {name}")
    return part


def _check_kind(values: Mapping[str, Any], name: str, kind: type) -> None:
    if not isinstance(values.get(name), kind):
        raise Unreadable(f"its {name} is not of its kind: {values.get(name)!r:.60}")


def _check_numbers(values: Mapping[str, Any], names: Sequence[str]) -> None:
    """Numbers, or null, or not there."""
    for name in names:
        if not _is_number(values.get(name)):
            raise Unreadable(f"its {name} is no number: {values[name]!r:.60}")


def _check_orders(values: Any) -> None:
    """A list of numbers, or of such lists."""
    if not isinstance(values, list):
        raise Unreadable(f"it has no list of numbers: {values!r:.60}")
    for value in values:
        if isinstance(value, list):
            _check_orders(value)
        elif not _is_number(value):
            raise Unreadable(f"it has no number: {value!r:.60}")


def _is_number(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < LARGEST
    return value is None or isinstance(value, float)
