"""The weights that a sweep keeps: their files, one in the folder of each point, and their size."""

from collections.abc import Sequence

from langevin_nn.errors import InputError
from langevin_nn.footprint import in_words
from langevin_nn.runs import run
from langevin_nn.sampling.engine.kept_weights import WeightsFile, disk_left, existing
from langevin_nn.sweeps import plan
from langevin_nn.sweeps.extending import Plan
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.grid import Grid

__all__ = ["in_line", "planned"]


def planned(folder: SweepFolder, wanted: Grid, extension: Plan | None = None) -> list[WeightsFile]:
    """The files of the points that are not finished; empty where no weights are kept.

    Where the sweep is extended, points that stay as they are do not count.

    One point of each shape is prepared; points of a shape that cannot be prepared are left out.
    """
    files: list[WeightsFile] = []
    for group in plan.groups(wanted):
        if not group[0].sampler.keep_weights:
            continue
        points = [point.content_hash for point in group]
        if extension is not None:
            points = [point for point in points if point not in extension.kept]
        paths = [folder.run(point).weights for point in points if not folder.is_done(point)]
        try:
            some = folder.run(group[0].content_hash).weights
            first = run.weights_file(run.prepare(group[0]), some)
        except InputError:
            continue
        if first and (like := first.files[0]):
            files += [WeightsFile(path, like.shape, like.dtype) for path in paths]
    return files


def in_line(files: Sequence[WeightsFile], folder: SweepFolder) -> str:
    """The size of the files in a line."""
    total = in_words(sum(file.num_bytes for file in files))
    left = in_words(disk_left(existing(folder.path)))
    return f"all weights of {len(files)} points are kept, {total}; {left} are left on the disk"
