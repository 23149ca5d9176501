"""Mutated .npz files of data end in the arrays that were saved or in one line. FAULTS 3.6, 4.2."""

import io
import json
import re
import warnings
import zipfile

import jax
import numpy as np
import pytest
from cases import TINY
from fuzzing import FUZZ, answered, watched
from hypothesis import given, settings
from hypothesis import strategies as st

from langevin_nn.data.load import load_dataset
from langevin_nn.data.npz_files import ARRAY_NAMES
from langevin_nn.types import InputError

TASK = TINY.replace('source = "teacher_linear"\nin_size = 3\nnum_train = 5\nnum_test = 4',
                    'source = "npz"\npath = "mine.npz"')  # fmt: skip
BYTES = st.lists(
    st.tuples(st.sampled_from(["flip", "flip", "cut", "insert", "delete", "ones"]),
              st.booleans(), st.integers(0, 10**6), st.integers(1, 255)),
    min_size=1, max_size=2,
)  # fmt: skip
"""What happens, whether to one of the archive's own headers, where, and a number for how."""
DTYPES = (
    "<f8", ">f8", "<f4", "<f2", "<i8", "<i1", "<u8", "?", "<c16", "<U3", "S3", "O", "<M8[D]", "V4",
    "g", ">U2", [("a", "<f8")],
)  # fmt: skip
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(ARRAY_NAMES),
        st.one_of(
            st.tuples(st.just("dtype"), st.sampled_from(DTYPES)),
            st.tuples(st.just("shape"), st.sampled_from(
                ["()", "(0,)", "(n, 1)", "(n, 1, 1)", "T", "(1, n)", "half", "twice", "flat"])),
            st.tuples(st.just("name"), st.sampled_from(
                ["", "x", "X_train", "x_train ", "../x_train", "x_test", "y_train", "a" * 300])),
            st.tuples(st.just("values"), st.sampled_from(
                [np.nan, np.inf, 1e300, -1e300, 0.0, 1e-300, 2**53])),
            st.tuples(st.just("header"), st.sampled_from([
                "{", "{'descr': '<f8'}",
                "{'descr': '<f8', 'fortran_order': False, 'shape': (-6, 3)}",
                "{'descr': '<f8', 'fortran_order': False, 'shape': (10**12, 3)}",
                "{'descr': '|O', 'fortran_order': False, 'shape': (6, 3)}",
                "{'descr': '<f8', 'fortran_order': 3, 'shape': (6, 3)}",
                "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 3)}",
                "{'descr': '<f0', 'fortran_order': False, 'shape': (6, 3)}", "(" * 200, "\0",
            ])),
            st.tuples(st.just("absent"), st.none()),
        ),
    ),
    min_size=1, max_size=2,
)  # fmt: skip


def arrays():
    rng = np.random.default_rng(0)
    x, x_test = rng.standard_normal((6, 3)), rng.standard_normal((4, 3))
    return {"x_train": x, "y_train": x[:, 0], "x_test": x_test, "y_test": x_test[:, 0]}


def whole(path):
    np.savez(path, **arrays())
    return path.read_bytes()


def with_bytes(content, edits):
    content = bytearray(content)
    for kind, of_header, place, value in edits:
        places = [
            sign.start() + i for sign in re.finditer(rb"PK[\x01-\x06]{2}", content)
            for i in range(4, 30) if sign.start() + i < len(content)
        ]  # fmt: skip
        if not (of_header and places):
            places = range(max(len(content), 1))
        place = places[place % len(places)]
        if kind == "flip" and content:
            content[place] ^= value
        elif kind == "cut":
            del content[place:]
        elif kind == "insert":
            content[place:place] = bytes([value]) * (value % 30)
        elif kind == "delete":
            del content[place : place + value % 40]
        elif kind == "ones":
            content[place : place + 8] = b"\xff" * 8
    return bytes(content)


def changed(array, kind, how):
    """The array of another type, shape or of other values."""
    if array.size == 0 or array.ndim == 0:  # by the change before
        return array
    if kind == "dtype":
        filled = array if isinstance(how, str) else np.zeros(len(array))
        with np.errstate(all="ignore"):
            filled = (filled * 10).astype("<i8") if how == "<M8[D]" else filled
            return filled.astype(how)
    if kind == "values":
        array = array.copy()
        array.ravel()[0] = how
        return array
    shapes = {"()": lambda a: a.ravel()[0], "(0,)": lambda a: a[:0], "(n, 1)": lambda a: a[:, None],
              "(n, 1, 1)": lambda a: a[:, None, None], "T": lambda a: a.T,
              "(1, n)": lambda a: a[None], "half": lambda a: a[: len(a) // 2],
              "twice": lambda a: np.concatenate([a, a]), "flat": lambda a: a.ravel()}  # fmt: skip
    return np.asarray(shapes[how](array)) if kind == "shape" else array


def with_changes(path, changes):
    """A file whose members are others than those of `whole`."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays().items():
            header = None
            written = name
            for which, (kind, how) in changes:
                if which == name and kind == "name":
                    written = how
                elif which == name and kind == "absent":
                    written = None
                elif which == name and kind == "header":
                    header = how
                elif which == name and array.dtype == np.float64:
                    array = changed(array, kind, how)
            stream = io.BytesIO()
            np.save(stream, array, allow_pickle=True)
            content = stream.getvalue()
            if header is not None:
                words = header.encode() + b"\n"
                content = content[:8] + len(words).to_bytes(2, "little") + words + bytes(144)
            if written is not None:
                with warnings.catch_warnings(action="ignore"):  # of a name that is there twice
                    archive.writestr(f"{written}.npy", content)


@pytest.mark.slow
@settings(max_examples=600, **FUZZ)
@given(BYTES)
def test_bytes(tmp_path_factory, edits):
    """What is read is what was saved: a checksum is over every member."""
    path = tmp_path_factory.getbasetemp() / "bytes.npz"
    path.write_bytes(with_bytes(whole(path), edits))
    try:
        with watched():
            task = load_dataset(
                "npz", path=path, key=jax.random.key(0), num_train=None, num_test=None,
                standardize=False,
            )  # fmt: skip
    except InputError as error:
        assert "\n" not in str(error)
        return
    for name, values in arrays().items():
        np.testing.assert_allclose(np.sort(getattr(task, name), axis=0), np.sort(values, axis=0))


@pytest.fixture
def tiny():
    return TASK


@pytest.mark.slow
@settings(max_examples=120, **FUZZ)
@given(CHANGES)
def test_members(cli, changes):
    """Refused, or used with all rows that are there, with finite numbers."""
    with_changes(cli.folder / "mine.npz", changes)
    words = ["theory", "tiny.toml", "--json", "--theory", "infinite_width"]
    answer = answered(cli, *words, codes=(0, 2))
    if answer.code == 0:
        entry = json.loads(answer.out)["theory"]["infinite_width"]
        assert entry["converged"] and np.all(np.isfinite(entry["predictive_mean"])), answer
    assert cli.files() == {"tiny.toml", "mine.npz"}
