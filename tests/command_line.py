"""The command line inside the test process, on problems so small that a run takes moments."""

import dataclasses
import json
import os
from pathlib import Path

import jax
from cases import TINY

from langevin_nn.cli.main import main


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command gave back."""

    code: int
    out: str
    err: str


class CommandLine:
    """`langevin-nn` in `folder`, which holds the configuration `tiny.toml`."""

    def __init__(self, folder: Path, capsys, configuration: str = TINY) -> None:
        self.folder = folder
        self.capsys = capsys
        (folder / "tiny.toml").write_text(configuration)

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


def with_own_cache(folder: Path) -> dict[str, str]:
    """The environment of a process that keeps its programs as a user's does, below `folder`."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_COMPIL", "JAX_PERS"))}
    return others | {"XDG_CACHE_HOME": str(folder / "cache")}


def with_as_many_devices() -> dict[str, str]:
    """The environment of a process with as many devices as this one, and so its rounding.

    What other tests have done decides how many this one has.
    """
    devices = f"--xla_force_host_platform_device_count={jax.device_count()}"
    return os.environ | {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}"}


def unsealed(run_folder) -> None:
    """Let a finished run's folder be as those of earlier versions: files without checksums."""
    path = Path(run_folder) / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({k: v for k, v in manifest.items() if k not in ("files", "sha256")}))
