"""The package's docstrings as reStructuredText: they are written to be read in an editor.

There `name` is code, an indented block is an equation, and nothing is marked up besides. Code that
is a public name becomes a link to it.
"""

import re

CODE = re.compile(r"`+([^`]+)`+")
ITEM = re.compile(r"([-*] |\d+\. )")
FIELDS = {"Args:": "param", "Raises:": "raises", "Returns:": "returns"}
"""The sections of a docstring whose indented lines are a list, with what Sphinx calls an item."""
FIELD = re.compile(r"    ([\w.*]+(?:, [\w.*]+)*): (.*)")
SPECIAL = re.compile(r"([*_|\\])")


def restructured(lines: list[str], names: dict[str, str]) -> list[str]:
    """The lines of a docstring as reStructuredText; `names` has the public names' full ones.

    >>> restructured(["The law of `W`_i:", "", "    p(W) ∝ e^(−U)"], {})
    ['The law of ``W``\\\\ \\\\_i:', '', '.. code-block:: none', '', '    p(W) ∝ e^(−U)', '']
    >>> restructured(["Args:", "    key: of the draws,", "        one key."], {})
    [':param key: of the draws, one key.', '']
    """
    made: list[str] = []
    section = ""
    for block in _blocks(lines):
        is_section, section = section, ""
        if len(block) == 1 and block[0] in FIELDS:
            section = block[0]
            continue
        if is_section:
            made += _fields(FIELDS[is_section], block, names)
        elif block[0].startswith(">>>"):
            made += block
        elif all(line.startswith("    ") for line in block if line):
            made += [".. code-block:: none", "", *block]
        else:
            made += _prose(block, names)
        made.append("")
    return made


def _blocks(lines: list[str]) -> list[list[str]]:
    """The paragraphs, indented blocks (with blank lines inside) and examples, one after another."""
    blocks: list[list[str]] = [[]]
    for line in lines:
        block = blocks[-1]
        indented = line.startswith("    ")
        if not line.strip():
            if block and block[0].startswith("    "):
                block.append("")
            elif block:
                blocks.append([])
        elif block and block[0].startswith("    ") != indented and not ITEM.match(block[0]):
            blocks.append([line])
        else:
            block.append(line)
    stripped = ["\n".join(block).rstrip("\n").split("\n") for block in blocks if any(block)]
    return stripped


def _fields(kind: str, block: list[str], names: dict[str, str]) -> list[str]:
    """The items of a section, each `name: what it is` with the lines that go on with it."""
    items: list[list[str]] = []
    for line in block:
        match = FIELD.match(line) if kind != "returns" else None
        if match:
            items.append([match[1], match[2]])
        elif items:
            items[-1][1] += " " + line.strip()
        else:
            items.append(["", line.strip()])
    return [f":{f'{kind} {name}'.rstrip()}: {_inline(text, names)}" for name, text in items]


def _prose(block: list[str], names: dict[str, str]) -> list[str]:
    """A paragraph, or the items of a list, each in one line."""
    pieces: list[str] = []
    for line in block:
        if ITEM.match(line) or not pieces:
            pieces.append(line)
        else:
            pieces[-1] += " " + line.strip()
    is_list = bool(ITEM.match(block[0]))
    made = []
    for piece in pieces:
        mark = ITEM.match(piece) if is_list else None
        head = mark[0] if mark else ""
        made.append(head + _inline(piece[len(head) :], names))
    return made


def _inline(text: str, names: dict[str, str]) -> str:
    parts, end = [], 0
    for match in CODE.finditer(text):
        parts.append(SPECIAL.sub(r"\\\1", text[end : match.start()]))
        code = match[1].strip()
        before, after = text[match.start() - 1 : match.start()], text[match.end() : match.end() + 1]
        if before.isalnum():
            parts.append("\\ ")
        target = names.get(code)
        parts.append(f":py:obj:`{code} <{target}>`" if target else f"``{code}``")
        if after and not after.isspace() and after not in ".,;:!?)]}'\"-/":
            parts.append("\\ ")
        end = match.end()
    parts.append(SPECIAL.sub(r"\\\1", text[end:]))
    return "".join(parts)
