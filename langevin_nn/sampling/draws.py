"""The recorded draws of all chains: what `sample` returns."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float, Int

from langevin_nn.display import Displayed, Table, counted
from langevin_nn.footprint import SERIES_BYTES as SERIES_BYTES
from langevin_nn.model.losses import Loss
from langevin_nn.model.posterior import Posterior
from langevin_nn.sampling.posterior_tree import Draws
from langevin_nn.types import InputError
from langevin_nn.values import as_whole, shown

BY_DRAW = (
    "test_outputs", "train_error", "energy", "test_variances", "acceptance", "nonfinite",
    "test_draws", "train_outputs", "control_variates",
)  # fmt: skip
"""The names of the arrays of `Chains` whose axes begin with chain and draw."""


@dataclass(frozen=True)
class Slopes:
    """Derivatives of the records of some draws, from which the step size's bias is estimated.

    `draws` (S,) are the numbers of these draws. `test_outputs`, `train_error` and `test_variances`
    are the slopes of these records, the last averaged over the test inputs (None where the
    parameters determine f), and `stiffness` is as `step_size.energy_slopes` defines it and them.
    `temperature` is T.
    """

    draws: Int[np.ndarray, " S"]
    test_outputs: Float[np.ndarray, "chain S P_test *D"]
    train_error: Float[np.ndarray, "chain S"]
    stiffness: Float[np.ndarray, "chain S"]
    temperature: float
    test_variances: Float[np.ndarray, "chain S"] | None = None


@dataclass(frozen=True, repr=False)
class Chains(Draws, Displayed):
    """Recorded draws of all chains, with the settings and diagnostics needed to judge them.

    `f`, (chain, draw, P_test) or with several outputs (chain, draw, P_test, D), are draws of f at
    the test inputs, and `train_outputs` (chain, draw, P, *D) the same draws of it at the training
    inputs, None where they were not kept. `train_error` (chain, draw) is the mean over the training
    examples of (y − f)² summed over the outputs, `energy` (chain, draw) is 𝓛, `observables` are the
    observables that were asked for, (chain, draw, …). `diverged` (chain,) marks chains with numbers
    that are not finite. `params` is the last state.

    Averages are taken of `test_outputs` and `test_variances`: where the read-out is sampled, they
    are f itself and None. Where it is marginalised, they are the means m_W of f given the
    hidden weights and its variances s_W (chain, draw, P_test), the same for each output; then
    `train_error` is the average given the hidden weights, and `test_draws` are draws of f, jointly
    over all test and training inputs, with one read-out drawn from its posterior given W.

    `temperature`, `loss` and the training targets `y_train` are the posterior's, None where they
    are not known.

    `curvature` is the largest Λ_max(∇²𝓛) over the chains at the end of the warm-up. From `slopes`
    `summarise` finds the bias of the finite step size; they are None where there is no such bias,
    where the chains exchange their weights with those of other temperatures, and where they were
    read from a file. A dynamics with an acceptance step has no curvature (NaN); it has
    `acceptance` (chain, draw), the mean acceptance probability of the trajectories since the draw
    before, `nonfinite` (chain, draw), the fraction of them that left the finite numbers and were
    rejected, and the mean angle of its trajectories, `trajectory_length`.

    `control_variates` (chain, draw, K, P_test, *D) are functions of the weights of each draw whose
    posterior mean is zero, for each of `test_outputs`
    (`MarginalisedPosterior.with_control_variates`), by which `summarise` takes noise out of their
    averages; None where none were recorded.

    `unadjusted` is what the dynamics says of itself, whether it has no acceptance step; None where
    nothing is said, as in files of earlier versions: `has_acceptance_step` then goes by
    `acceptance`.

    `extendable` says whether a sampling that asks for more draws can go on from the last ones: with
    `resume` from its checkpoint, a run by --extend. `last_state` is what a run keeps for that.
    """

    test_outputs: Float[np.ndarray, "chain draw P_test *D"]
    train_error: Float[np.ndarray, "chain draw"]
    energy: Float[np.ndarray, "chain draw"]
    observables: dict[str, np.ndarray]
    y_test: Float[np.ndarray, " P_test *D"]
    targets_midpoint: float
    params: Any
    step_size: float
    curvature: float
    thinning: int
    wall_seconds: float
    test_variances: Float[np.ndarray, "chain draw P_test"] | None = None
    acceptance: Float[np.ndarray, "chain draw"] | None = None
    nonfinite: Float[np.ndarray, "chain draw"] | None = None
    trajectory_length: float | None = None
    test_draws: Float[np.ndarray, "chain draw P_test *D"] | None = None
    train_outputs: Float[np.ndarray, "chain draw P *D"] | None = None
    temperature: float | None = None
    loss: Loss | None = None
    slopes: Slopes | None = None
    y_train: Float[np.ndarray, " P *D"] | None = None
    unadjusted: bool | None = None
    control_variates: Float[np.ndarray, "chain draw K P_test *D"] | None = None
    extendable: bool = False
    last_state: Any = None

    def __repr__(self) -> str:
        return "; ".join(f"{name} {value}".strip() for name, value in self._table.rows)

    @property
    def _table(self) -> Table:
        chains, draws, num_test = self.test_outputs.shape[:3]
        rows = [
            ("Chains", f"{chains} × {counted(str(draws), 'draws')}, thinning {self.thinning}"),
            ("of f at", f"{num_test} test inputs"),
            ("step size", f"{self.step_size:.3g}"),
            ("sampled in", f"{self.wall_seconds:.3g} s"),
        ]
        if self.test_variances is not None:
            rows.insert(2, ("read-out", "marginalised"))
        if self.observables:
            rows.append(("observables", ", ".join(self.observables)))
        if diverged := int(self.diverged.sum()):
            rows.append(("diverged chains", str(diverged)))
        return Table((), rows)

    def first(self, num_draws: SupportsIndex) -> "Chains":
        """The first `num_draws` draws of every chain, without slopes.

        Raises `InputError` for a number that is not positive, or of more draws than there are.

        >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
        >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
        >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
        >>> chains = lnn.sample(posterior, lnn.Split(), key=key, num_warmup=20, num_samples=10)
        >>> chains.first(5).energy.shape
        (8, 5)
        """
        number, most = as_whole(num_draws), self.energy.shape[1]
        if number is None or not 1 <= number <= most:
            raise InputError(
                f"num_draws is a whole number from 1 to {most}, got {shown(num_draws)}"
            )
        series: dict[str, Any] = {
            name: None if (values := getattr(self, name)) is None else values[:, :number]
            for name in BY_DRAW
        }
        observables = {name: values[:, :number] for name, values in self.observables.items()}
        return replace(
            self, **series, observables=observables, slopes=None, extendable=False, last_state=None
        )

    def records(self) -> dict[str, np.ndarray]:
        """The records (draw, chain, …) by the engine's names, but for f at the training inputs."""
        series = {name: getattr(self, name) for name in BY_DRAW if name != "train_outputs"}
        series |= self.observables
        return {name: np.moveaxis(v, 0, 1) for name, v in series.items() if v is not None}

    @property
    def f(self) -> Float[np.ndarray, "chain draw P_test *D"] | None:
        """Draws of f at the test inputs.

        None for a marginalised read-out that was not drawn (runs of earlier versions).
        """
        return self.test_outputs if self.test_variances is None else self.test_draws

    @property
    def diverged(self) -> np.ndarray:
        """Whether any energy or output of a chain is not finite, (chain,)."""
        f = self.test_outputs.reshape(*self.energy.shape, -1)
        return ~(np.isfinite(self.energy).all(axis=1) & np.isfinite(f).all((1, 2)))

    @property
    def has_acceptance_step(self) -> bool:
        """Whether the step size shifts nothing of what is sampled."""
        return is_adjusted(self.unadjusted, self.acceptance)

    @property
    def stability_limit(self) -> float:
        """The step size 2/Λ_max above which the dynamics diverges; NaN where it never does."""
        return 2 / self.curvature


def is_adjusted(unadjusted: bool | None, acceptance: Any) -> bool:
    """Whether draws were made with an acceptance step, as their dynamics has said.

    Where it has said nothing, as in files of earlier versions, they were if there is an acceptance.

    >>> is_adjusted(True, acceptance=0.9), is_adjusted(None, acceptance=0.9)
    (False, True)
    """
    return acceptance is not None if unadjusted is None else not unadjusted


def assemble(
    posterior: Posterior,
    params: Any,
    settings: Any,
    draws: Mapping[str, np.ndarray],
    thinning: int,
    slopes: Mapping[str, np.ndarray],
    sloping: Int[np.ndarray, " S"],
    curvature: float,
    seconds: float,
    unadjusted: bool,
    extendable: bool = False,
    last_state: Any = None,
) -> Chains:
    """The `Chains` of one point from its records (draw, chain, …).

    `settings` are those of the dynamics, which says whether it is `unadjusted`; `slopes` are those
    of the draws numbered `sloping`, or empty.
    """
    series = {name: np.moveaxis(values, 0, 1) for name, values in draws.items()}
    data = posterior.beside.data
    return Chains(
        test_outputs=series.pop("test_outputs"),
        train_error=series.pop("train_error"),
        energy=series.pop("energy"),
        test_variances=series.pop("test_variances", None),
        acceptance=series.pop("acceptance", None),
        nonfinite=series.pop("nonfinite", None),
        test_draws=series.pop("test_draws", None),
        train_outputs=series.pop("train_outputs", None),
        control_variates=series.pop("control_variates", None),
        observables=series,
        y_test=np.asarray(posterior.y_test, np.float64),
        targets_midpoint=float(posterior.targets_midpoint),
        params=params,
        step_size=settings.step_size,
        curvature=curvature,
        trajectory_length=getattr(settings, "trajectory_length", None),
        thinning=thinning,
        wall_seconds=seconds,
        temperature=float(posterior.temperature),
        loss=posterior.loss,
        unadjusted=unadjusted,
        extendable=extendable,
        last_state=last_state,
        y_train=np.asarray(posterior.y_train if data is None else data.y_train, np.float64),
        slopes=Slopes(
            draws=sloping,
            temperature=float(posterior.temperature),
            **{name: np.moveaxis(values, 0, 1) for name, values in slopes.items()},
        )
        if slopes
        else None,
    )
