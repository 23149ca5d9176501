"""Sampling until the standard errors are small enough: the rule `TargetError`.

A sampling ends where R̂ < 1.01, ESS > 400 and the standard errors are as small as was asked for, at
two looks in a row (`sampling.stopping`). What a rule looks at are the numbers that it reports, so
that ending early may bias them: chance makes an estimate of an error small a little before it is.
The errors themselves are known to a few per cent by then (of n_eff independent draws, to
1/√(2 n_eff)), and the intervals of what such a rule ends cover as they state (Glynn, Whitt, Ann.
Appl. Probab. 2, 180, 1992; Flegal, Haran, Jones, Statist. Sci. 23, 250, 2008).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from langevin_nn.analysis.diagnostics import ESS_LIMIT, RHAT_LIMIT, ess, mcse, rhat
from langevin_nn.analysis.generalisation import undiagnosed
from langevin_nn.analysis.variance_reduction import averaged_outputs
from langevin_nn.config.fields import ERROR_NAMES
from langevin_nn.config.sampler import MOST_DRAWS
from langevin_nn.estimates import Estimate
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.stopping import FEWEST_DRAWS_FOR_RHAT
from langevin_nn.types import Generalisation, InputError
from langevin_nn.values import as_number, as_whole, nearest, require_kind, require_positive, shown

FEW = 5
"""The number of test points whose R̂ and ESS are looked at before those of all."""
NAME_OF_PREDICTIONS = "predictions"
"""The name of f̄ at every test input among the numbers whose errors are asked for."""


@dataclass(frozen=True)
class TargetError:
    """The standard errors at which a sampling ends: `until` of `sample`.

    `relative` are errors over values: of bias² and of the variance, if it is one number, else by
    name; `absolute` are errors by name. Names are `bias2`, `variance`, `generalisation_error`,
    `train_error`, and `predictions`: f̄ at every test input, whose relative error is in units of the
    predictive standard deviation. R̂ and ESS of everything that is reported must be there, too.
    After `max_draws` draws of each chain, or `max_seconds`, the sampling ends all the same, and
    `shortfall` says what was missing.

    Raises `InputError` for other names, and for numbers that are not positive.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> rule = lnn.TargetError(0.05)
    >>> chains = lnn.sample(posterior, lnn.Split(), key=key, num_warmup="auto", until=rule)
    >>> measured = lnn.summarise(chains)
    >>> measured.converged, measured.bias2.mcse < 0.05 * measured.bias2.value
    (True, True)
    """

    relative: float | Mapping[str, float] = 0.01
    absolute: Mapping[str, float] | None = None
    max_draws: int = MOST_DRAWS
    max_seconds: float = math.inf

    def __post_init__(self) -> None:
        for name, values in (("relative", self.relative), ("absolute", self.absolute)):
            if name == "relative" and not isinstance(values, Mapping):
                require_positive("relative", values, 1.0)
                continue
            if values is None:
                continue
            if not isinstance(values, Mapping):
                raise InputError(
                    f"absolute errors are numbers by name, got {shown(values)}: write "
                    '{"bias2": 1e-4}'
                )
            for key, value in values.items():
                if key not in ERROR_NAMES:
                    raise InputError(
                        f"the numbers with an error are {', '.join(ERROR_NAMES)}, got {shown(key)}"
                        f'{nearest(str(key), list(ERROR_NAMES))}: write {{"bias2": 0.01}}'
                    )
                require_positive(f"{name} error of {key}", value, math.inf)
        max_draws = as_whole(self.max_draws)
        if max_draws is None or max_draws < FEWEST_DRAWS_FOR_RHAT:
            raise InputError(
                f"max_draws is a whole number from {FEWEST_DRAWS_FOR_RHAT} on, got "
                f"{shown(self.max_draws)}"
            )
        if as_number(self.max_seconds) != math.inf:
            require_positive("max_seconds", self.max_seconds, math.inf)

    @property
    def by_name(self) -> dict[str, tuple[float, float]]:
        """The relative and the absolute error of each number by name, ∞ where none is asked for."""
        relative = self.relative
        if not isinstance(relative, Mapping):
            relative = {"bias2": relative, "variance": relative}
        absolute = self.absolute or {}
        return {
            name: (relative.get(name, math.inf), absolute.get(name, math.inf))
            for name in ERROR_NAMES
            if name in relative or name in absolute
        }

    def first_look(self, num_chains: int) -> int:
        """Where an ESS of 400 takes draws of all chains that are twice as good as independent."""
        number = as_whole(num_chains)
        if number is None or number < 1:
            raise InputError(f"num_chains is a positive whole number, got {shown(num_chains)}")
        return max(math.ceil(ESS_LIMIT / (2 * number)), 2 * FEWEST_DRAWS_FOR_RHAT)

    def draws_needed(self, chains: Chains) -> float:
        """The number of draws that each chain needs, as far as these draws tell.

        Variances of averages, 1/ESS and R̂ − 1 fall as one over the number of draws. Where one of
        these asks for more draws than there are, those that take longer to find are not looked at.
        """
        require_kind("chains", chains, Chains, "draws_needed(sample(posterior, dynamics, key=…))")
        if chains.diverged.all():
            return 0.0  # more draws of them are no better
        most = 0.0
        for lack in self._lacks(chains):
            most = max(most, lack)
            if most > 1:
                break
        return most * chains.energy.shape[1]

    def _lacks(self, chains: Chains) -> Iterator[float]:
        """The factors by which draws are too few, for more and more of what is to be small."""
        keep = ~chains.diverged
        quick = chains.train_error[keep].astype(np.float64)
        yield _lack_of_convergence(float(rhat(quick)), float(ess(quick)))
        measured, diagnosis = undiagnosed(chains)
        errors = self._errors(chains, measured).values()
        yield max((float(_in_targets(*pair)) ** 2 for pair in errors), default=0.0)
        for series in (chains.test_outputs, chains.test_variances):
            if series is not None:
                worst = _least_mixed(series[keep])
                rhats, sizes = rhat(worst), ess(worst)
                yield max(map(_lack_of_convergence, rhats.tolist(), sizes.tolist()))
        diagnostics = diagnosis()
        yield _lack_of_convergence(diagnostics.rhat_max, diagnostics.ess_min)

    def shortfall(self, chains: Chains, measured: Generalisation) -> str:
        """What is missing to the errors that were asked for, in words; empty if nothing is."""
        require_kind("measured", measured, Generalisation, "summarise(chains)")
        missing = [
            f"{name} {error:.2g} (asked for: {target:.2g})"
            for name, (error, target) in self._errors(chains, measured).items()
            if not error <= target
        ]
        return f"standard errors are larger than asked for: {', '.join(missing)}" if missing else ""

    def _errors(self, chains: Chains, measured: Generalisation) -> dict[str, tuple[float, float]]:
        """The standard error of each number by name, and what it may be."""
        errors: dict[str, tuple[float, float]] = {}
        for name, (relative, absolute) in self.by_name.items():
            if name != NAME_OF_PREDICTIONS:
                estimate = getattr(measured, name)
                assert isinstance(estimate, Estimate)
                target = min(absolute, relative * abs(estimate.value))
                errors[name] = estimate.mcse, target
                continue
            outputs = averaged_outputs(chains)
            deviation = np.sqrt(measured.predictive_variance).ravel()
            of_f = mcse(outputs)
            targets = np.minimum(absolute, relative * deviation)
            worst = int(np.argmax(_in_targets(of_f, targets)))
            errors[name] = float(of_f[worst]), float(targets[worst])
        return errors


def _least_mixed(series: np.ndarray) -> Float[np.ndarray, "chain draw point"]:
    """Of series (chain, draw, …) those few whose halves of chains differ most, for a first look."""
    flat = series.reshape(*series.shape[:2], -1)
    half = flat.shape[1] // 2
    halves = [part.mean(axis=1, dtype=np.float64) for part in (flat[:, :half], flat[:, -half:])]
    deviation = flat.std(axis=(0, 1), dtype=np.float64)
    spread = np.concatenate(halves).std(axis=0) / np.where(deviation > 0, deviation, 1.0)
    return flat[:, :, np.argsort(-spread)[:FEW]]


def _in_targets(error: np.ndarray | float, target: np.ndarray | float) -> np.ndarray:
    """Errors in units of what they may be; 0 where there is none, ∞ where one is not known."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(np.equal(error, 0), 0.0, np.divide(error, target))
    return np.asarray(np.nan_to_num(ratio, nan=np.inf, posinf=np.inf))


def _lack_of_convergence(rhat_max: float, ess_min: float) -> float:
    """The factor by which draws are too few for R̂ and ESS; below 1 where they are enough.

    Both are NaN where everything is constant: more draws change nothing.
    """
    lacks = [(rhat_max - 1) / (RHAT_LIMIT - 1), ESS_LIMIT / ess_min if ess_min else math.inf]
    return max([lack for lack in lacks if not math.isnan(lack)], default=0.0)
