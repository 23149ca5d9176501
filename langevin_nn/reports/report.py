"""`report`: the page of a sweep or a run, from its folder."""

import time
from pathlib import Path

from langevin_nn.errors import InputError
from langevin_nn.files import require_no_folder, write_text
from langevin_nn.reports.run import run_page
from langevin_nn.reports.sweep import sweep_page
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.provenance import versions
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.values import as_path

NAME = "report.html"


def report(path: Path | str, output: Path | str | None = None) -> Path:
    """Write one HTML page of a sweep or a run: figures, tables, convergence and provenance.

    The page is one file that needs nothing beside it and asks for nothing from elsewhere. A sweep
    can have it at any time, also while it runs; a run when it is finished.

    Args:
        path: the folder of a sweep or of a run.
        output: the path of the page; `report.html` in that folder if left out.

    Returns:
        The path of the page.

    Raises:
        InputError: a folder that is neither, a run that is not finished, a file in it that cannot
            be read, a page that cannot be written.

    >>> import tempfile
    >>> sampler = {"num_chains": 2, "num_warmup": 10, "num_samples": 5, "thinning": 1}
    >>> data = {"source": "teacher_linear", "in_size": 3, "num_train": 5, "num_test": 4}
    >>> config = lnn.config.from_dict({"data": data, "sampler": sampler})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     found = lnn.sweep(config, {"posterior.temperature": [0.1, 1.0]}, output=folder)
    ...     page = lnn.report(folder)
    ...     print(page.name, "2 points: 2 done" in page.read_text())
    report.html True
    """
    path = as_path("path", path)
    target = path / NAME if output is None else as_path("output", output)
    if target.suffix not in (".html", ".htm"):
        raise InputError(
            f"{target}: a report is an HTML page, write an output that ends in .html, "
            f"{target.stem or 'report'}.html"
        )
    require_no_folder(target, "another output, FILE.html")
    version = versions()["langevin-nn"] or "(not installed)"
    date_line = f"As of {time.strftime('%Y-%m-%d %H:%M %z')}, by langevin_nn {version}."
    try:
        page = _page(path, date_line)
    except OSError as error:
        raise InputError(
            f"cannot read {error.filename or path} ({error.strerror or error}): write the folder "
            "of a sweep or of a run that can be read"
        ) from error
    try:
        write_text(target, page, shared=True)
    except OSError as error:
        raise InputError(
            f"cannot write {target} ({error.strerror or error}): write an output, FILE.html, in a "
            "folder that is there and can be written"
        ) from error
    return target


def _page(path: Path, date_line: str) -> str:
    sweep, run = SweepFolder(path), RunFolder(path)
    if sweep.has_begun:
        return sweep_page(sweep, date_line)
    if run.is_run:
        return run_page(run, date_line)
    run.require_idle()
    raise InputError(
        f"{path} is neither a sweep's folder nor a run's: write the folder that langevin-nn run or "
        "sweep named"
    )
