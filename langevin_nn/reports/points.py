"""The points of a sweep as rows of a report's tables."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from langevin_nn import plotting
from langevin_nn.analysis.comparison import grid_marks
from langevin_nn.reports.formats import estimate
from langevin_nn.reports.html import Markup, table
from langevin_nn.runs.expected import Expected
from langevin_nn.runs.summary import Summary, TheoryRecord
from langevin_nn.sweeps import theories
from langevin_nn.sweeps.folder import SweepFolder

MOST_ROWS = 200
"""The largest number of rows of a table of points; `results.nc` has all points."""
MARKS = {"failed": "failed", "missing": "failed", "not converged": "restless"}
"""The classes of rows that call for attention, by the state of the point."""


@dataclass(frozen=True)
class Points:
    """The points of a sweep as rows of tables: in C order, with their values on the axes."""

    folder: SweepFolder
    results: xr.Dataset

    @cached_property
    def labels(self) -> list[list[str]]:
        """The values of each point on the axes, as text."""
        values = self.folder.grid.coordinates.values()
        return [list(row) for row in itertools.product(*map(_short, values))]

    @cached_property
    def places(self) -> list[str]:
        """The place of each point in the grid, in words: the axes by their symbols."""
        symbols = [plotting.symbol(name) for name in self.folder.grid.keys]
        return [
            ", ".join(f"{name} = {value}" for name, value in zip(symbols, labels, strict=True))
            for labels in self.labels
        ]

    @cached_property
    def finished(self) -> dict[str, str]:
        """The hashes of the finished points, by their places in words."""
        done = self.of("status") == "done"
        pairs = zip(self.places, self.of("point"), done, strict=True)
        return {place: str(point) for place, point, is_done in pairs if is_done}

    @cached_property
    def summaries(self) -> dict[str, Summary]:
        """The summaries of the finished points, by their places in words."""
        finished = self.finished.items()
        return {place: self.folder.run(point).load_summary() for place, point in finished}

    @cached_property
    def answers(self) -> dict[str, Summary | Expected]:
        """What the theories say at each point of which that is known, by the places in words.

        That is in the summary of a finished point, and by itself of one of theory alone.
        """
        expected = theories.load(self.folder) if "theory" in self.states else {}
        hashes = (point.content_hash for point in self.folder.grid.points)
        alone = {
            place: expected[point]
            for place, point, state in zip(self.places, hashes, self.states, strict=True)
            if state == "theory" and point in expected
        }
        return {**alone, **self.summaries}

    @cached_property
    def theories(self) -> dict[str, TheoryRecord]:
        """The record of each theory at one of the points, by name."""
        parts = [answer.theory for answer in self.answers.values()]
        return {name: theory for part in parts for name, theory in part.items()}

    @property
    def is_sampled(self) -> bool:
        """Whether an experiment belongs on the page: not where the theories alone were asked."""
        return "theory" not in self.states or bool(self.finished)

    @cached_property
    def of_experiment(self) -> list[bool]:
        """Whether each point has to do with an experiment, done or not; not of theory alone."""
        return [state != "theory" for state in self.states]

    def of(self, name: str) -> np.ndarray:
        """A variable of the Dataset, (points, …); its dimensions that are no axes follow."""
        return self.flat(self.results[name])

    def estimates(self, quantity: str) -> list[str]:
        """The experiment's quantity at each point, ± one standard error, with the mark it bears."""
        marks = self.flat(grid_marks(self.results, quantity))
        numbers = zip(self.of(quantity), self.of(f"{quantity}_mcse"), marks, strict=True)
        return [estimate(value, mcse) + str(mark) for value, mcse, mark in numbers]

    def flat(self, values: xr.DataArray) -> np.ndarray:
        """The values with the axes of the grid flattened into one, (points, …)."""
        array = values.to_numpy()
        axes = len(self.folder.grid.names)
        return array.reshape(len(self.labels), *array.shape[axes:])

    @property
    def marks(self) -> list[str]:
        """The HTML class of the row of each point, empty for points without trouble."""
        pairs = zip(self.states, self.of("reason"), strict=True)
        return [
            MARKS.get(state, "") if state != "missing" or reason else "" for state, reason in pairs
        ]

    @cached_property
    def states(self) -> list[str]:
        """The state of each point in words."""
        pairs = zip(self.of("status"), self.of("converged"), strict=True)
        return [
            str(state) if state != "done" else "converged" if converged else "not converged"
            for state, converged in pairs
        ]

    def table(
        self,
        caption: str,
        header: list[str],
        rows: list[list[str]],
        selected: Sequence[bool] | None = None,
    ) -> Markup:
        """An HTML table with a row for each point, whose first cells are its values on the axes.

        Only of the `selected` points, if that is given.
        """
        names = [plotting.symbol(name) for name in self.folder.grid.keys]
        chosen = [True] * len(rows) if selected is None else selected
        labelled_rows = [
            [*labels, *row]
            for labels, row, is_chosen in zip(self.labels, rows, chosen, strict=True)
            if is_chosen
        ]
        marks = list(itertools.compress(self.marks, chosen))
        if len(labelled_rows) > MOST_ROWS:
            caption += (
                f" (the first {MOST_ROWS} of {len(labelled_rows)} points; results.nc has them all)"
            )
        return table(
            caption, [*names, *header], labelled_rows[:MOST_ROWS], labels=len(names),
            marks=marks[:MOST_ROWS],
        )  # fmt: skip


def _short(values: Sequence[Any]) -> list[str]:
    """The values of an axis as text, long numbers to six digits where these stay distinct."""
    texts = [str(value) for value in values]
    short = [
        f"{value:.6g}" if isinstance(value, float) and len(text) > 8 else text
        for value, text in zip(values, texts, strict=True)
    ]
    return short if len(set(short)) == len(short) else texts
