"""Records: the package's JSON files, with a checksum."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langevin_nn.files import Unreadable, require_file

SUM = "sha256"
"""The key of a record's own checksum."""


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
    """The content of a JSON file. Raises `Unreadable` for a file that cannot be read or parsed."""
    require_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
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


def _sum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _refuse_constant(constant: str) -> Any:
    raise Unreadable(f"{constant} is no JSON")
