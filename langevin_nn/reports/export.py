"""`export`: the numbers of a run or of a sweep as a table for other programs, or for a paper."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from langevin_nn.analysis.comparison import shift_names
from langevin_nn.errors import InputError
from langevin_nn.estimates import Estimate, is_shifted
from langevin_nn.files import require_no_folder, write_bytes
from langevin_nn.result_text import MARK, QUANTITIES, SHIFTED, UNKNOWN_MARK, is_rounding
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.loading import load_run
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.results import collected
from langevin_nn.types import ESTIMATES
from langevin_nn.values import as_path, shown

FORMATS = {".csv": "csv", ".tex": "latex", ".parquet": "parquet"}
"""The formats by the endings of their files."""
UNCONVERGED_MARK = " *"
"""The mark, in a LaTeX table, of a result that has not converged."""
SMALLEST_ERROR = float(np.finfo(np.float64).eps)
"""The error below which an accuracy has none: all draws agree at every test point."""
OF_POINTS = ("rhat_max", "ess_min", "seconds", "status", "point")
"""What the experiment's rows of a sweep have beside the numbers."""


def export(
    path: Path | str, output: Path | str | None = None, *, format: str | None = None
) -> Path | bytes:
    """Write the numbers of a sweep or a run as CSV, as a LaTeX table or as Parquet.

    A row is the experiment or a theory of a run, or of a point of the grid, whose axes are its
    first columns; columns are each number and its standard error (`bias2`, `bias2_mcse`, …), and
    how far the step size shifts the experiment's (`bias2_step_size_shift`, …). The LaTeX table is
    for reading: numbers rounded, with their errors in brackets, ruled by booktabs, * beside what
    has not converged.

    Args:
        path: the folder of a run, or of a sweep at any time; its points that are not done have no
            numbers.
        output: the file; its ending says the format, if `format` does not. An ending of another
            format than that is refused.
        format: "csv", "latex" or "parquet", which needs PyArrow; CSV if nothing says one.

    Returns:
        The path of the file, or without `output` its content.

    Raises:
        InputError: a folder that is neither, a run that is not finished, another format, a file
            that cannot be written.
    """
    target = None if output is None else as_path("output", output)
    format = _format(target, format)
    if target is not None:
        require_no_folder(target, "another name")
    content = _content(table_of(path), format)
    if target is None:
        return content
    try:
        write_bytes(target, memoryview(content))
    except OSError as error:
        raise InputError(
            f"cannot write {target} ({error.strerror or error}): write an output in a folder that "
            "is there and can be written"
        ) from error
    return target


def _format(target: Path | None, format: str | None) -> str:
    """The format that is given, or that the file's ending says; `InputError` where they differ."""
    if format is not None and format not in FORMATS.values():
        raise InputError(
            f'format {shown(format)} is none of csv, latex and parquet: write format="csv"'
        )
    if target is None:
        return format or "csv"
    of_ending = FORMATS.get(target.suffix.lower())
    if format is None and of_ending is None:
        table = target.parent / f"{target.stem or 'numbers'}.csv"
        raise InputError(
            f"the ending of {target} is none of {', '.join(FORMATS)}: write {table}, or name the "
            "format"
        )
    if format is not None and of_ending not in (None, format):
        ending = next(ending for ending, name in FORMATS.items() if name == format)
        raise InputError(
            f"{target} has the ending of {of_ending}, but the format is {format}: write "
            f"{target.with_suffix(ending)}, or {of_ending} as the format"
        )
    return str(format or of_ending)


def table_of(path: Path | str) -> pd.DataFrame:
    """The numbers of a sweep or a run as `export` writes them; errors as there."""
    path = as_path("path", path)
    sweep = SweepFolder(path)
    if sweep.has_begun:
        return _rounded(_of_sweep(collected(SweepFolder.existing(path))))
    if RunFolder(path).is_run:
        return _rounded(load_run(path).to_dataset().to_dataframe().reset_index())
    RunFolder(path).require_idle()
    raise InputError(
        f"{path} is neither a sweep's folder nor a run's: write the folder that langevin-nn run or "
        "sweep named"
    )


def _rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with 0 for errors of accuracies that are below what float64 knows of one."""
    errors = table["test_accuracy_mcse"]
    return table.assign(test_accuracy_mcse=errors.mask(errors < SMALLEST_ERROR, 0.0))


def _of_sweep(results: xr.Dataset) -> pd.DataFrame:
    axes = [str(name) for name in results["status"].dims]
    numbers = [name for key in ESTIMATES for name in (key, f"{key}_mcse")]
    shifts = [name for key in QUANTITIES for name in shift_names(results, key)]
    own = [name for name in (*numbers, *shifts, "converged", *OF_POINTS) if name in results]
    experiment = results[own].to_dataframe(dim_order=axes).reset_index()
    experiment.insert(len(axes), "result", "experiment")
    experiment = experiment[experiment["status"] != "theory"]
    names = {f"theory_{name}": name for name in (*numbers, "log_evidence", "converged")}
    names = {theirs: name for theirs, name in names.items() if theirs in results}
    theories = results[list(names)].rename(names | {"theory": "result"})
    rows = theories.to_dataframe(dim_order=[*axes, "result"]).reset_index()
    rows.index = rows.index // max(theories.sizes["result"], 1)
    rows = rows[rows[list(ESTIMATES)].notna().any(axis=1)]
    return pd.concat([experiment, rows]).sort_index(kind="stable").reset_index(drop=True)


def _content(table: pd.DataFrame, format: str) -> bytes:
    if format == "csv":
        return table.to_csv(index=False).encode()
    if format == "latex":
        return _latex(table).encode()
    buffer = io.BytesIO()
    try:
        table.to_parquet(buffer, index=False)
    except ImportError as error:
        raise InputError(
            "Parquet needs PyArrow, which is not installed: write pip install "
            "'langevin_nn[parquet]', or csv as the format"
        ) from error
    return buffer.getvalue()


def _latex(table: pd.DataFrame) -> str:
    """A table ruled by booktabs, with each number and its error in brackets."""
    labels = table.columns[: table.columns.get_loc("result") + 1]
    shown_columns = {str(name): table[name].astype(str) for name in labels}
    marks = {""}
    unsettled = (table["converged"] == False) & table["bias2"].notna()  # noqa: E712 - may be NaN
    shown_columns["result"] += unsettled.map({True: UNCONVERGED_MARK, False: ""})
    for key, name in QUANTITIES.items():
        columns = [table[column] for column in _columns(key)]
        cells = []
        rows = zip(table["result"], table["generalisation_error"], *columns, strict=True)
        for result, beside, *numbers in rows:
            value, error, *shift = map(float, numbers)
            if key == "train_error" and is_rounding(value, beside):
                value = error = 0.0
            mark = _mark(Estimate(value, error), *shift) if result == "experiment" else ""
            cells.append("" if math.isnan(value) else f"{Estimate(value, error)}{mark}")
            marks.add(mark)
        shown_columns[name] = pd.Series(cells)
    accuracy = table["test_accuracy"]
    shown_columns["test accuracy"] = accuracy.map(lambda x: "" if pd.isna(x) else f"{x:.4f}")
    style = pd.DataFrame(shown_columns).style.hide(axis="index")
    style = style.format(escape="latex").format_index(escape="latex", axis=1)
    text = str(style.to_latex(hrules=True, column_format="l" * len(shown_columns)))
    if unsettled.any():
        marks.add(UNCONVERGED_MARK)
    notes = {
        UNCONVERGED_MARK: "not converged",
        MARK: SHIFTED,
        UNKNOWN_MARK: "shifted by the step size by what is not known",
    }
    return text + "".join(f"% {m.strip()} {note}\n" for m, note in notes.items() if m in marks)


def _columns(key: str) -> tuple[str, ...]:
    """The columns of a quantity: its value, its error, its shift and that one's error."""
    shift = f"{key}_step_size_shift"
    return key, f"{key}_mcse", shift, f"{shift}_mcse"


def _mark(number: Estimate, shift: float, shift_mcse: float) -> str:
    """The mark of an experiment's number, as a run's table has it."""
    if math.isnan(number.value):
        return ""
    if math.isnan(shift):
        return UNKNOWN_MARK
    return MARK if is_shifted(number, Estimate(shift, shift_mcse)) else ""
