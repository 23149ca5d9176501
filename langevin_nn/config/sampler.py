"""The table [sampler] of a configuration: the dynamics, its numbers, and what ends a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from langevin_nn.config.dynamics import DYNAMICS, Usage, usage_of, users_of
from langevin_nn.config.fields import (
    COUNT_OR_AUTO,
    ERROR_OR_ERRORS,
    ERRORS,
    FLAG,
    FRACTION,
    LARGEST,
    OBSERVABLES,
    POSITIVE,
    STEP_SIZE,
    choice_or_path,
    described,
    tuple_of_or_auto,
    whole,
)
from langevin_nn.config.representations import REPRESENTATIONS, checked_representations
from langevin_nn.config.sections import Checked, option
from langevin_nn.errors import InputError
from langevin_nn.import_paths import is_import_path

DEFAULT_SAMPLES = 1_000
"""The number of draws of each chain, where nothing else is said."""
MOST_DRAWS = 4_000
"""The largest number of draws of each chain with a target error, where nothing else is said."""
DEFAULT_TARGET = 0.01
"""The target error of a dynamics that samples until the answer is known, if nothing else is said.

One chain alone, which cannot tell, has `DEFAULT_SAMPLES` draws."""
AUTO = "auto"
"""The number of steps of a warm-up that ends by itself."""

PILOT_RUNGS = 8
"""The number of temperatures of the pilot runs that choose a ladder."""

RULE = ("target_error", "target_absolute_error", "max_draws", "max_seconds")
"""The fields of a rule that ends the draws."""
FIELDS_OF_LENGTH = tuple(f"sampler.{name}" for name in ("num_samples", *RULE))
"""The fields in which a run that goes on may differ from the run that has ended."""


def in_place_of_length(given: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str] | None]:
    """Command-line words by field, with None for what an extension's file says in their place.

    A number of draws takes the place of a rule, and a rule that of a number.

    >>> in_place_of_length({"sampler.target_error": ["0.01"]})
    {'sampler.num_samples': None, 'sampler.target_error': ['0.01']}
    """
    replaced: tuple[str, ...] = ()
    number, *rule = FIELDS_OF_LENGTH
    if number in given:
        replaced = tuple(rule)
    elif any(name in given for name in rule[:2]):
        replaced = (number,)
    return {**dict.fromkeys(replaced), **given}


def _by_dynamics(where: str, count: str) -> str:
    """The help of a count of steps: what they are, and how many by default, of each dynamics."""
    first, *others = DYNAMICS.values()
    meanings = [f"{first.unit} {where} (default {_default(first, count)})"]
    meanings += [
        f"{usage.name}: {usage.unit} (default {_default(usage, count)})" for usage in others
    ]
    return "; ".join(meanings)


def _default(usage: Usage, count: str) -> str:
    number = str(getattr(usage, count))
    return f"{AUTO}, {number} at most" if usage.until_known and count == "warmup" else number


@dataclass(frozen=True)
class SamplerConfig(Checked):
    """The table [sampler]: the dynamics and its settings, the chains, and how long they run."""

    prefix = "sampler."

    dynamics: str = option(
        "langevin",
        choice_or_path(*DYNAMICS),
        described(DYNAMICS),
        of="dynamics",
        usual=True,
    )
    step_size: float | str = option(
        "auto",
        STEP_SIZE,
        "langevin: eta, auto a stated fraction of the stability limit; split: the largest angle of "
        "a rotation, at most pi/2, auto adapted in the warm-up",
    )
    trajectory_length: float | str = option(
        "auto",
        STEP_SIZE,
        "split: the mean angle of a trajectory; auto adapted in the warm-up, from pi/2 on",
    )
    refresh: float = option(
        1.0, FRACTION, "split: the fraction of the momenta drawn afresh before each trajectory"
    )
    target_acceptance: float = option(
        0.8, FRACTION, "split: the acceptance that step_size = auto adapts to"
    )
    ladder: tuple[float, ...] | str = option(
        (),
        tuple_of_or_auto(POSITIVE, "a list of temperatures, for example [0.1, 1.0]"),
        "temperatures above the posterior's to run together with it, with swaps (tempering); auto: "
        "chosen by pilot runs",
    )
    num_chains: int = option(8, whole(1), "independent chains", usual=True)
    num_warmup: int | str | None = option(
        None,
        COUNT_OR_AUTO,
        _by_dynamics("before the first recorded draw", "warmup") + "; auto: until nothing drifts",
    )
    num_samples: int | None = option(
        None,
        whole(4),
        f"recorded draws of each chain (default {DEFAULT_SAMPLES}; split: as many as "
        f"target_error = {DEFAULT_TARGET} takes)",
        usual=True,
    )
    thinning: int | None = option(
        None,
        whole(1),
        _by_dynamics("between recorded draws", "thinning"),
    )
    target_error: float | tuple[str, ...] | None = option(
        None,
        ERROR_OR_ERRORS,
        "in place of num_samples: sample until the standard errors of bias2 and variance over "
        "their values are as small as that, or those of the numbers that are named (predictions: "
        f"in units of the predictive standard deviation); split: default {DEFAULT_TARGET}",
    )
    target_absolute_error: tuple[str, ...] | None = option(
        None, ERRORS, "as target_error, the errors themselves"
    )
    max_draws: int | None = option(
        None, whole(4), f"with a target error: draws of each chain at most (default {MOST_DRAWS})"
    )
    max_seconds: float | None = option(
        None, POSITIVE, "with a target error: seconds of sampling at most"
    )
    control_variates: bool = option(
        False,
        FLAG,
        "take noise out of f̄ and bias2 by functions of the weights whose posterior mean is zero; "
        "read-out marginalised, one hidden layer",
    )
    keep_weights: bool = option(
        False, FLAG, "keep all weights of each recorded draw, in weights.npy in the run's folder"
    )
    keep_state: bool = option(
        True, FLAG, "keep what --extend goes on from, in last_state.npz in the run's folder"
    )

    observables: tuple[str, ...] | None = option(
        None,
        OBSERVABLES,
        "what to record of the network's representation at each draw, beside f: "
        + ", or ".join(f"{name}: {meaning}" for name, meaning in REPRESENTATIONS.items())
        + "; fully connected networks",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.observables is not None:
            names = checked_representations("sampler.observables", self.observables)
            self._resolve(observables=names or None)
        self._check_dynamics()
        usage = usage_of(self.dynamics)
        usual_warmup = AUTO if usage.until_known else usage.warmup
        num_warmup = usual_warmup if self.num_warmup is None else self.num_warmup
        thinning = usage.thinning if self.thinning is None else self.thinning
        self._resolve(num_warmup=num_warmup, thinning=thinning)
        self._check_target()
        steps = self.most_steps
        if steps > LARGEST:
            raise InputError(
                f"sampler.num_warmup + num_samples × thinning = {steps} steps are more than can "
                f"be counted: write smaller ones, {LARGEST} steps at most"
            )

    @property
    def has_target(self) -> bool:
        """Whether the draws end where the errors are small enough, and not at a number."""
        return self.target_error is not None or self.target_absolute_error is not None

    @property
    def num_rungs(self) -> int:
        """The number of temperatures; of a ladder that is still to be chosen, its pilot runs'."""
        return PILOT_RUNGS if self.ladder == AUTO else 1 + len(self.ladder)

    @property
    def most_draws(self) -> int:
        """The number of draws of each chain; with a target error, the largest."""
        number = self.max_draws if self.has_target else self.num_samples
        assert number is not None
        return number

    @property
    def most_steps(self) -> int:
        """The number of steps of each chain, warm-up and sampling together; the largest."""
        warmup = self.num_warmup
        if not isinstance(warmup, int):
            warmup = usage_of(self.dynamics).warmup
        assert self.thinning is not None
        return warmup + self.most_draws * self.thinning

    def _check_target(self) -> None:
        """Refuse counts that do not go with each other; give those that were left open theirs."""
        is_open = not self.has_target and self.num_samples is None and self.num_chains > 1
        if is_open and usage_of(self.dynamics).until_known:
            self._resolve(target_error=DEFAULT_TARGET)
        if not self.has_target:
            for name in ("max_draws", "max_seconds"):
                if (value := getattr(self, name)) is not None:
                    raise InputError(
                        f"sampler.{name} = {value} is used with a target_error only: write "
                        f"target_error = 0.01, or leave {name} out"
                    )
            self._resolve(
                num_samples=DEFAULT_SAMPLES if self.num_samples is None else self.num_samples
            )
            return
        if self.num_samples is not None:
            raise InputError(
                f"sampler.num_samples = {self.num_samples} does not go with a target error, which "
                f"ends the draws: leave it out, or write max_draws = {self.num_samples}"
            )
        if self.num_chains < 2:
            raise InputError(
                "sampler.num_chains = 1 cannot tell whether it has converged, and a target error "
                "waits for that: write num_chains = 2 or more, or num_samples in place of the error"
            )
        self._resolve(max_draws=MOST_DRAWS if self.max_draws is None else self.max_draws)

    def _check_dynamics(self) -> None:
        """Refuse what only another dynamics uses, so that nothing is silently ignored."""
        if is_import_path(self.dynamics):  # its class says what it takes
            return
        usage = usage_of(self.dynamics)
        if not isinstance(self.step_size, str) and self.step_size > usage.largest_step_size:
            raise InputError(
                f'sampler.step_size = {self.step_size:g} of dynamics = "{self.dynamics}" is '
                f'{usage.step_size}: write step_size = "auto" or a smaller one'
            )
        for item in fields(self):
            value, users = getattr(self, item.name), users_of(item.name)
            if users and item.name not in usage.options and value != item.default:
                known = " or ".join(f'"{name}"' for name in users)
                raise InputError(
                    f"sampler.{item.name} = {value} is used by dynamics = {known} only, got "
                    f'dynamics = "{self.dynamics}": write dynamics = {known} or leave it out'
                )
