"""Finished sweeps that go on to more draws, or to smaller errors, at the points that fall short.

The grid of a longer sweep differs from that of its folder in the number of draws or the target
error alone. A point falls short where it has not converged, or where its errors are larger than the
target. It is run anew under its new name, from the last state that its shorter run has kept, and
takes that run's place when it is finished. The other points stay as they are, their folders with
the names that they have: `tasks/extended.json` says which run stands for which point.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from langevin_nn.config.record import RunConfig, flat, modules_of
from langevin_nn.config.sampler import FIELDS_OF_LENGTH
from langevin_nn.errors import InputError
from langevin_nn.files import write_text
from langevin_nn.runs.extending import MORE, require_extendable
from langevin_nn.runs.folder import RunFolder, Wanted
from langevin_nn.runs.results import measured_by
from langevin_nn.sweeps.folder import SweepFolder
from langevin_nn.sweeps.grid import Grid

__all__ = ["Plan", "begin", "plan"]


@dataclass(frozen=True)
class Plan:
    """What becomes of the points of a longer sweep, by their new names.

    `kept` are the names of the runs that stay for them, `extends` those of the runs that they go on
    from; a point in neither is run from its beginning.
    """

    kept: Mapping[str, str] = field(default_factory=dict)
    extends: Mapping[str, str] = field(default_factory=dict)


def plan(folder: SweepFolder, wanted: Grid) -> Plan:
    """What becomes of each point where the sweep in the folder goes on as the wanted one.

    Touches nothing. Raises `InputError` for a folder without a finished sweep, for a grid that
    differs in more than its draws, and where a point that falls short cannot go on.
    """
    if not folder.has_begun:
        raise InputError(
            f"{folder.path} holds no sweep to be extended: leave --extend (extend=True) out to "
            "begin one, or write the folder of a finished sweep as the output"
        )
    if folder.grid.content_hash == wanted.content_hash:  # it is extended to this one already
        return Plan(folder.lineage.kept, folder.lineage.extends)
    pairs = list(_pairs(folder, wanted))
    if holder := next(filter(None, map(folder.holder, folder.tasks)), None):
        raise InputError(f"{folder.path} is in use, by {holder}: wait until that has ended")
    missing = [p for p, _ in pairs if not folder.is_done(p) and folder.failure(p) is None]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(pairs)} points in {folder.path} are not finished: go on "
            "with the sweep as it was, without --extend (extend=True), and extend it when they are"
        )
    kept, extends = {}, {}
    for point, config in pairs:
        run = folder.run(point)
        if not folder.is_done(point):
            continue
        if _falls_short(run, config):
            _require_longer(run, config)
            extends[config.content_hash] = run.path.name
        else:
            kept[config.content_hash] = run.path.name
    return Plan(kept, extends)


def begin(folder: SweepFolder, wanted: Grid, planned: Plan) -> None:
    """Make the folder that of the wanted sweep; its points are run as those of any sweep.

    What says which runs stand for the points is written before the grid, by which it is read.
    """
    if folder.grid.content_hash == wanted.content_hash:
        return
    with folder.preparing():
        if SweepFolder(folder.path).grid.content_hash == wanted.content_hash:
            return  # another process has done so
        before = folder.lineage  # which holds as long as the grid is the earlier one
        kept = {k: v for k, v in before.kept.items() if k not in planned.extends}
        extends = {k: v for k, v in before.extends.items() if k not in planned.kept}
        folder.write_lineage({**kept, **planned.kept}, {**extends, **planned.extends})
        write_text(folder.path / "sweep.toml", wanted.toml)


def _pairs(folder: SweepFolder, wanted: Grid) -> Iterator[tuple[str, RunConfig]]:
    """The name of each point of the folder's sweep, and its configuration in the wanted one.

    Raises `InputError` where two differ in more than their lengths.
    """
    if folder.grid.coordinates.keys() != wanted.coordinates.keys() or folder.grid.shape != (
        wanted.shape
    ):
        raise InputError(
            f"--extend (extend=True) goes on with the same grid, and that of {folder.path} has "
            "other axes: write the same axes and seeds, or its sweep.toml as the configuration"
        )
    for number, (name, theirs) in enumerate(folder.points.items()):
        mine = wanted.points[number]
        old, new = flat(theirs.to_dict()), flat(mine.to_dict())
        names = {*old, *new}.difference(FIELDS_OF_LENGTH)
        if differing := sorted(name for name in names if old.get(name) != new.get(name)):
            different = differing[0]
            raise InputError(
                "--extend (extend=True) goes on with the same points, but for their numbers of "
                f"draws or their target errors; those in {folder.path} are others ({different} = "
                f"{old.get(different)!r} there, {new.get(different)!r} here): write the same, or "
                "another folder as the output and leave it out"
            )
        yield name, mine


def _falls_short(run: RunFolder, config: RunConfig) -> bool:
    """Whether a finished run has not converged, or has larger errors than `config` asks for."""
    if not config.sampler.has_target:
        return not run.load_summary().experiment.converged
    chains, _ = run.load_results()
    return not measured_by(config, chains).converged


def _require_longer(run: RunFolder, config: RunConfig) -> None:
    """Raise `InputError` where a finished run cannot go on to what `config` asks for."""
    data = run.data()
    anew = "sweep into another folder, without --extend (extend=True)"
    require_extendable(run, Wanted(config, data, modules_of(config)), anew)
    number = run.load_summary().experiment.num_draws
    if config.sampler.most_draws <= number:
        raise InputError(
            f"{run.path} has not converged, or its errors are larger than asked for, with "
            f"{number:,} draws of each chain, and no more than {config.sampler.most_draws:,} are "
            f"asked for: {MORE}"
        )


def in_line(folder: SweepFolder, planned: Plan) -> str:
    """How many points go on, and how many stay, in a line."""
    return (
        f"{len(planned.extends)} of the {len(folder.points)} points in {folder.path} fall short "
        f"and go on; {len(planned.kept)} stay as they are"
    )
