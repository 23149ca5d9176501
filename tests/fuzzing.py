"""What the tests with mutated input have in common: settings, a limit of time, damage to files."""

import contextlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

SECONDS = 60
FUZZ = {
    "derandomize": True, "deadline": None, "database": None, "phases": (Phase.generate,),
    "suppress_health_check": list(HealthCheck),
}  # fmt: skip
"""The same mutations in every run; one that fails is not made smaller, which would take long."""


@contextlib.contextmanager
def watched(seconds: int = SECONDS) -> Iterator[None]:
    """A hang ends as an error."""

    def bark(*_):
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, bark)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def answered(cli, *words, codes=(0, 2, 3)):
    """The answer, in time: one of these codes, and with code 2 one line on stderr and no other."""
    with watched():
        answer = cli(*words)
    assert answer.code in codes, answer
    assert "Traceback" not in answer.err, answer
    if answer.code == 2:
        *before, last = answer.err.splitlines()
        assert answer.out == "" and last.startswith("langevin-nn: error: "), answer
        assert all(line.startswith("langevin-nn: ") for line in before), answer
        assert len(last) < 2200, answer
    return answer


DAMAGE = (
    "absent", "empty", "cut", "flip", "insert", "digit", "longer", "nonsense", "another's",
    "a neighbour's", "a folder", "a link to nowhere", "a link to itself",
)  # fmt: skip
NONSENSE = (
    b"", b"{}", b"[]", b"null", b"3", b"\xff\xfe", b"[" * 4000, b'{"experiment": {}, "theory": []}',
    b'{"run_id": "0123456789ab"}', b'{"run_id": 3, "files": {}}', b"seed = 1\n", b"PK\x05\x06",
    b"PK\x05\x06" + bytes(18), b"\x89HDF\r\n\x1a\n" + bytes(600), b"9" * 5000, b'{"data": [null]}',
)  # fmt: skip
DAMAGES = st.lists(
    st.tuples(
        st.integers(0, 10**6), st.sampled_from(DAMAGE), st.integers(0, 10**6), st.integers(1, 255)
    ),
    min_size=1, max_size=2,
)  # fmt: skip
"""Which file, what happens to it, where, and a number for how."""


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below the folder with its content; links are not followed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def damage(folder: Path, other: Path, damages) -> None:
    """Let files of the folder be what nothing of the package has written; `other` is like it."""
    for which, kind, place, value in damages:
        names = sorted(files_in(folder))
        if not names:
            return
        path = folder / names[which % len(names)]
        content = bytearray(path.read_bytes())
        place %= max(len(content), 1)
        if kind == "cut":
            content = content[:place]
        elif kind == "flip" and content:
            content[place] ^= value
        elif kind == "insert":
            content[place:place] = bytes([value]) * (1 + value % 40)
        elif kind == "digit":
            digits = [i for i, letter in enumerate(content) if letter in b"0123456789"]
            if digits:
                at = digits[place % len(digits)]
                content[at] = ord(str((int(chr(content[at])) + 1 + value % 9) % 10))
        elif kind == "longer":
            content += bytes([value]) * value
        elif kind == "nonsense":
            content = bytearray(NONSENSE[value % len(NONSENSE)])
        elif kind == "another's":
            twins = sorted(other.rglob(path.name)) or [path]
            content = bytearray(twins[place % len(twins)].read_bytes())
        elif kind == "a neighbour's":
            content = bytearray((folder / names[place % len(names)]).read_bytes())
        elif kind == "empty":
            content = bytearray()
        path.unlink()
        if kind == "a folder":
            path.mkdir()
        elif kind == "a link to nowhere":
            path.symlink_to("nowhere")
        elif kind == "a link to itself":
            path.symlink_to(path.name)
        elif kind != "absent":
            path.write_bytes(content)


def copied(source: Path, target: Path) -> Path:
    """A fresh copy in place of what is there."""
    if target.exists():
        shutil.rmtree(target)
    return Path(shutil.copytree(source, target))
