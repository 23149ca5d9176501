"""The command line inside the test process, on problems so small that a run takes moments."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from langevin_nn.cli.main import main

TINY = """
seed = 1
[data]
source = "teacher_linear"
in_size = 3
num_train = 5
num_test = 4
[network]
hidden_widths = [3]
[posterior]
temperature = 0.5
[sampler]
num_chains = 2
num_warmup = 30
num_samples = 8
thinning = 2
"""

TINY_GRID = (
    """
precision = "float64"
theory = ["infinite_width", "scale_mixture"]
"""
    + TINY
)
"""The same for sweeps, whose points are compared to rounding."""


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str


class CommandLine:
    """`langevin-nn` in `folder`, which holds the configuration `tiny.toml`."""

    def __init__(self, folder: Path, capsys) -> None:
        self.folder = folder
        self.capsys = capsys
        (folder / "tiny.toml").write_text(TINY)

    def __call__(self, *words) -> Answer:
        self.capsys.readouterr()
        code = main([str(word) for word in words])
        return Answer(code, *self.capsys.readouterr())

    def summary(self, run_folder) -> dict:
        return json.loads((self.folder / run_folder / "summary.json").read_text())

    def files(self, below=".") -> set[str]:
        """Every file and every empty folder."""
        top = self.folder / below
        return {
            str(path.relative_to(top))
            for path in top.rglob("*")
            if path.is_file() or not any(path.iterdir())
        }


def write_npz(path, *, num_train=6, num_test=4, in_size=3, seed=0, **replaced):
    """A small regression task as a file."""
    rng = np.random.default_rng(seed)
    arrays = {
        "x_train": rng.standard_normal((num_train, in_size)),
        "y_train": rng.standard_normal(num_train),
        "x_test": rng.standard_normal((num_test, in_size)),
        "y_test": rng.standard_normal(num_test),
    }
    np.savez(path, **(arrays | replaced))
    return arrays


def unsealed(run_folder) -> None:
    """Let a finished run's folder be as those of earlier versions: files without checksums."""
    path = Path(run_folder) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in manifest.items() if k not in ("files", "sha256")}))
