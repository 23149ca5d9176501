"""What the sides of the package share: the ensemble's specification and the type of a result.

`sampling` and `theory` never import each other. They meet in two records: `EnsembleSpec` says
what is studied, `Generalisation` says what was found, whether a sampler or a theory found it.

Shapes: P training examples, P_test test examples, N_0 inputs, N_1 … N_L hidden units.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float, Key

from langevin_nn.errors import InputError as InputError

ChainKeys = Key[Array, " chains"]
"""One typed JAX key for each chain."""


class NotApplicable(InputError):
    """A theory was asked about an ensemble that it does not describe. The message says why."""


@dataclass(frozen=True)
class Activation:
    """An activation σ and its Gaussian dual: one object for the network and for the theory.

    `dual(a, b, c)` is κ(a, b, c) = E[σ(u)σ(v)] with (u, v) ~ N(0, [[a, c], [c, b]]); its arguments
    broadcast against each other, to the shape of its value. `odd` says whether σ(−z) = −σ(z).
    """

    name: str
    function: Callable[[Array], Array]
    dual: Callable[[Array, Array, Array], Array]
    odd: bool

    def __call__(self, z: Array) -> Array:
        return self.function(z)


@dataclass(frozen=True)
class EnsembleSpec:
    """The ensemble p(θ) ∝ exp(−β𝓛(θ)) without the network itself: all that a theory may know.

    `hidden_widths` and `activation` are None for a network whose Gram matrix the package does not
    know; `architecture` then says which network that is. `temperature` is T = 1/β; a theory takes
    T = 0 as well.
    """

    in_size: int
    hidden_widths: tuple[int, ...] | None
    activation: Activation | None
    prior_precisions: tuple[float, ...]
    temperature: float
    architecture: str = "FullyConnected"

    def __post_init__(self) -> None:
        if not self.temperature >= 0:
            raise InputError(f"temperature must be zero or positive, got {self.temperature}")
        if not all(0 < precision < float("inf") for precision in self.prior_precisions):
            raise InputError(
                f"prior precisions must be positive and finite, got {self.prior_precisions}"
            )
        if self.hidden_widths is None:
            return
        if not all(width > 0 for width in self.hidden_widths):
            raise InputError(f"hidden widths must be positive, got {self.hidden_widths}")
        if len(self.prior_precisions) != len(self.hidden_widths) + 1:
            raise InputError(
                f"{len(self.hidden_widths)} hidden layer(s) need {len(self.hidden_widths) + 1} "
                f"prior precisions λ_0 … λ_L, got {len(self.prior_precisions)}: "
                f"{self.prior_precisions}"
            )


@dataclass(frozen=True)
class Estimate:
    """A number with its Monte-Carlo standard error (zero where nothing was sampled)."""

    value: float
    mcse: float = 0.0


@dataclass(frozen=True)
class Diagnostics:
    """Whether chains may be believed, over every reported number and every test prediction.

    `rhat` and `ess` hold, for each reported number, R̂ and the smaller of bulk and tail ESS;
    `rhat_max` and `ess_min` are the worst over those and over the predictions at all test points.
    Chains that left the finite numbers are in `diverged_chains` and in no average.
    """

    rhat: dict[str, float]
    ess: dict[str, float]
    rhat_max: float
    ess_min: float
    num_chains: int
    num_draws: int
    diverged_chains: int
    acceptance: float | None = None


@dataclass(frozen=True)
class Generalisation:
    """What a network knows after Bayesian learning: the result of an experiment or of a theory.

    With f̄(x) = ⟨f(x)⟩ over the posterior, averages over the test examples (x, y) of

        bias² = (y − f̄(x))²,   variance = ⟨(f(x) − f̄(x))²⟩,   generalisation error = their sum.

    `predictive_mean` and `predictive_variance` are f̄ and the posterior variance of f at each test
    point, shape (P_test,). `train_error` is ⟨(y − f)²⟩ averaged over the training examples and
    `test_accuracy` the fraction of test points where f̄ is on the target's side of the targets'
    midpoint. `order_parameters` are the theory's Q_1 … Q_L (empty for an experiment), `converged`
    and `message` say whether the result may be used and why not, `diagnostics` is the
    experiment's.
    """

    name: str
    predictive_mean: Float[np.ndarray, " P_test"]
    predictive_variance: Float[np.ndarray, " P_test"]
    bias2: Estimate
    variance: Estimate
    generalisation_error: Estimate
    train_error: Estimate
    test_accuracy: Estimate
    order_parameters: tuple[float, ...] = ()
    converged: bool = True
    message: str = ""
    diagnostics: Diagnostics | None = None
