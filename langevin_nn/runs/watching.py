"""A run while it is under way: how far it is, and its numbers so far."""

import math
from dataclasses import dataclass

from langevin_nn.analysis.generalisation import summarise
from langevin_nn.config.dynamics import usage_of
from langevin_nn.config.record import RunConfig
from langevin_nn.data.dataset import Dataset
from langevin_nn.display import Displayed, Table, counted, duration
from langevin_nn.estimates import plus_minus
from langevin_nn.files import Unreadable
from langevin_nn.result_text import QUANTITIES
from langevin_nn.runs.assemble import dynamics_of
from langevin_nn.runs.folder import RunFolder
from langevin_nn.runs.run import counts_of
from langevin_nn.runs.tables import caption
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.engine.checkpoint import Reached, reached
from langevin_nn.types import Generalisation, InputError

FEWEST_DRAWS_FOR_NUMBERS = 10
"""The number of draws of each chain from which on there are numbers."""


@dataclass(frozen=True, repr=False)
class Standing(Displayed):
    """How far a run is that is not finished; made by `standing`.

    `steps` of `total_steps` are made in `seconds`, `warmup_steps` of them before the first draw;
    `draws` of each chain are saved. `measured` are the numbers so far, None where there are too few
    draws or none that is finite. The step size's shift is not known before the end.
    """

    title: str
    unit: str
    worker: str
    steps: int
    warmup_steps: int
    total_steps: int
    draws: int
    total_draws: int
    seconds: float
    measured: Generalisation | None

    @property
    def seconds_left(self) -> float:
        """The time that the rest will take at the pace so far; NaN before the first checkpoint."""
        if not self.steps:
            return math.nan
        return self.seconds * (self.total_steps - self.steps) / self.steps

    @property
    def _table(self) -> Table:
        phase = "warm-up" if self.steps < self.warmup_steps else "sampling"
        steps = f"{self.steps:,} of {counted(self.total_steps, self.unit)} ({phase})"
        stage = "under way" if self.steps else "beginning (theories, compiling, first steps)"
        left = self.seconds_left
        rows = [
            ("state", f"{stage}, {self.worker}" if self.worker else "nobody works on it"),
            ("steps", steps if self.steps else "no checkpoint yet"),
            ("draws", f"{self.draws:,} of {self.total_draws:,} of each chain"),
            ("time", f"{duration(self.seconds)} so far"
                     + (f", about {duration(left)} left" if math.isfinite(left) else "")),
        ]  # fmt: skip
        if self.measured is not None:
            diagnostics = self.measured.diagnostics
            assert diagnostics is not None
            rows += [(name, plus_minus(getattr(self.measured, key))) for key, name in
                     QUANTITIES.items()]  # fmt: skip
            rows += [
                ("test accuracy", f"{self.measured.test_accuracy.value:.4f}"),
                ("R̂ max", f"{diagnostics.rhat_max:.4f}"),
                ("ESS min", f"{diagnostics.ess_min:.0f}"),
            ]
            if diagnostics.diverged_chains:
                rows.append(("diverged", counted(diagnostics.diverged_chains, "chains")))
        return Table((), rows, title=self.title)


def standing(folder: RunFolder, config: RunConfig, data: Dataset) -> Standing:
    """How far the unfinished run in `folder` is, whose configuration and data these are.

    Only reads: the run goes on. Numbers are those of the posterior's own temperature. Raises
    `InputError` where the run's state cannot be read.
    """
    try:
        state = reached(folder.checkpoint) or Reached()
    except Unreadable as error:
        raise InputError(
            f"cannot read the state of the run in {folder.path} ({error}): look again later"
        ) from error
    settings = config.sampler
    counts = Counts.of(dynamics_of(settings), **counts_of(settings))
    return Standing(
        title=caption(config),
        unit=usage_of(settings.dynamics).unit,
        worker=folder.worker,
        steps=state.steps,
        warmup_steps=counts.num_warmup,
        total_steps=counts.steps,
        draws=state.num_draws,
        total_draws=counts.num_samples,
        seconds=state.seconds,
        measured=_measured(state, data, counts.thinning, dynamics_of(settings).unadjusted),
    )


def _measured(
    state: Reached, data: Dataset, thinning: int, unadjusted: bool
) -> Generalisation | None:
    series = state.series
    if state.num_draws < FEWEST_DRAWS_FOR_NUMBERS:
        return None
    chains = Chains(
        test_outputs=series["test_outputs"],
        test_variances=series.get("test_variances"),
        train_error=series["train_error"],
        energy=series["energy"],
        acceptance=series.get("acceptance"),
        nonfinite=series.get("nonfinite"),
        control_variates=series.get("control_variates"),
        observables={},
        y_test=data.y_test,
        targets_midpoint=data.targets_midpoint,
        params=None,
        step_size=math.nan,
        curvature=math.nan,
        thinning=thinning,
        wall_seconds=state.seconds,
        unadjusted=unadjusted,
    )
    return None if chains.diverged.all() else summarise(chains)
