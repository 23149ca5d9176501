"""What the sides of the package share: the ensemble's specification and the type of a result.

`sampling` and `theory` never import each other. They meet in two records: `EnsembleSpec` says
what is studied, `Generalisation` says what was found, whether a sampler or a theory found it.

Shapes: P training examples, P_test test examples, N_0 inputs, N_1 … N_L hidden units, D outputs.
With one output, arrays over examples have no axis for it: y is (P,), and (P, D) for D > 1.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from langevin_nn.covariances import Activation as Activation
from langevin_nn.display import Displayed, Table
from langevin_nn.errors import InputError as InputError
from langevin_nn.errors import NotApplicable as NotApplicable
from langevin_nn.estimates import Estimate as Estimate
from langevin_nn.estimates import StepSizeBias as StepSizeBias
from langevin_nn.result_text import QUANTITIES, results_table, with_messages
from langevin_nn.richness import scaled
from langevin_nn.values import as_number, as_whole, is_ordered, require_kind, require_text, shown
from langevin_nn.wide_layers import DenseLayer, InputLayer, Layer, PatchLayer
from langevin_nn.wide_layers import Patches as Patches

ChainKeys = Key[Array, " chains"]
"""One typed JAX key for each chain."""

PointKeys = Key[Array, "points chains"]
"""One typed JAX key for each chain of each of the points that run side by side."""


THREEFRY = "threefry2x32"


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of typed keys of JAX."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    """A typed Threefry key: the key itself if it is one, else one made of the key's words."""
    if str(jax.random.key_impl(key)) == THREEFRY:
        return key
    words = jax.random.key_data(key)
    threefry = jax.random.wrap_key_data(words[:2], impl=THREEFRY)
    for word in words[2:]:
        threefry = jax.random.fold_in(threefry, word)
    return threefry


def random_key(key: Any) -> PRNGKeyArray:
    """The user's random key, typed and of JAX's Threefry generator.

    A key of another generator becomes the seed of one: under `jax.vmap` those others give a chain
    numbers that depend on how many chains there are. Raises `InputError` for what is no single key.

    >>> random_key(jax.random.PRNGKey(3)) == random_key(jax.random.key(3))
    Array(True, dtype=bool)
    >>> random_key(jax.random.key(3, impl="rbg")).dtype
    key<fry>
    """
    if is_key(key) and key.shape == ():
        return as_threefry(key)
    shape, kind = getattr(key, "shape", None), getattr(key, "dtype", None)
    if kind == jnp.uint32 and shape is not None and not isinstance(key, np.generic):
        if shape == jax.random.key_data(jax.random.key(0)).shape:
            return as_threefry(jax.random.wrap_key_data(jnp.asarray(key)))
        if shape in ((2,), (4,)):
            impl = THREEFRY if shape == (2,) else "rbg"
            return as_threefry(jax.random.wrap_key_data(jnp.asarray(key), impl=impl))
    several = is_key(key) or (kind == jnp.uint32 and shape is not None and len(shape) > 1)
    description = (
        f"several, of shape {shape}" if several else f"{type(key).__name__} {shown(key, 60)}"
    )
    raise InputError(
        f"key must be one random key of JAX, got {description}: write jax.random.key(0)"
    )


ESTIMATES = (*QUANTITIES, "test_accuracy")
"""The names of the numbers of a `Generalisation` that have a standard error."""
PREDICTIVE_MOMENTS = ("predictive_mean", "predictive_variance")
"""The names of the arrays of a `Generalisation`, one number for each test target."""

CHAIN_AXIS = "chains"
"""The axis of the device mesh over which chains are shared out."""


@dataclass(frozen=True)
class EnsembleSpec:
    """The ensemble p(θ) ∝ exp(−β𝓛(θ)) without the network itself: all that a theory may know.

    `hidden_widths` and `activation` are None for a network whose Gram matrix the package does not
    know; `architecture` then says which network that is. `temperature` is T = 1/β; a theory takes
    T = 0 as well. `prior_precisions` are those of the weights of each layer, the read-out's last,
    `bias_precisions` those of the biases, None for a network without biases. `patches` are a
    convolutional layer's, whose channels are the one hidden width; None for a fully connected
    network. `own_layers` are the layers of a network of another kind, which say what they do to
    covariances; None for the layers that the widths, the activation and the patches describe.
    `loss` is the name of ℓ in 𝓛; most theories describe the squared one alone.
    """

    in_size: int
    hidden_widths: tuple[int, ...] | None
    activation: Activation | None
    prior_precisions: tuple[float, ...]
    temperature: float
    architecture: str = "FullyConnected"
    num_outputs: int = 1
    bias_precisions: tuple[float, ...] | None = None
    patches: Patches | None = None
    loss: str = "squared"
    own_layers: tuple[Layer, ...] | None = None

    def __post_init__(self) -> None:
        self._check_numbers()
        for text in ("architecture", "loss"):
            require_text(text, getattr(self, text))
        if self.activation is not None:
            require_kind("activation", self.activation, Activation, 'activation("erf")')
        if self.patches is not None:
            require_kind("patches", self.patches, Patches, "Patches(image_shape, size, stride)")
        if self.own_layers is not None and self.own_layers == self._described:
            object.__setattr__(self, "own_layers", None)
        if self.own_layers is not None:
            self._check_own_layers(self.own_layers)
        if self.hidden_widths is not None:
            self._check_widths(self.hidden_widths)

    @cached_property
    def layers(self) -> tuple[Layer, ...] | None:
        """What each layer does to covariances, the inputs' first; None where that is not known."""
        return self._described if self.own_layers is None else self.own_layers

    def at_richness(self, richness: float) -> "EnsembleSpec":
        """The spec with λ_L N_L γ² and T/(N_L γ²) for λ_L and T: at the richness γ (`richness`).

        Raises `InputError` without a hidden layer, and for a γ that is not positive.

        >>> spec = EnsembleSpec(2, (50,), erf, (1.0, 1.0), temperature=0.1).at_richness(1.0)
        >>> spec.prior_precisions, spec.temperature
        ((1.0, 50.0), 0.002)
        """
        if self.hidden_widths is None:
            raise InputError(
                f"richness is that of the last hidden layer, and of {self.architecture} that is "
                "not known: write the λ_L and the T of the ensemble, prior_precisions and "
                "temperature"
            )
        numbers = scaled(
            richness, self.hidden_widths, tuple(self.prior_precisions),
            self.bias_precisions and tuple(self.bias_precisions), self.temperature,
        )  # fmt: skip
        return replace(
            self, prior_precisions=numbers.precisions, bias_precisions=numbers.bias_precisions,
            temperature=numbers.temperature,
        )  # fmt: skip

    @property
    def _described(self) -> tuple[Layer, ...] | None:
        widths = self.hidden_widths
        if not isinstance(widths, tuple | list) or (widths and self.activation is None):
            return None
        first = InputLayer(self.in_size) if self.patches is None else PatchLayer.on(self.patches)
        if self.activation is None:
            return (first,)
        return (first, *(DenseLayer(self.activation),) * len(widths))

    def _check_numbers(self) -> None:
        if not (as_whole(self.in_size) or 0) >= 1:
            raise InputError(f"the number of inputs must be positive, got {shown(self.in_size)}")
        number = as_number(self.temperature)
        if number is None or not 0 <= number < float("inf"):
            raise InputError(
                f"temperature must be zero or positive, and finite, got {shown(self.temperature)}"
            )
        if not (as_whole(self.num_outputs) or 0) >= 1:
            raise InputError(
                f"the number of outputs must be positive, got {shown(self.num_outputs)}"
            )
        for name, precisions in (
            ("prior precisions", self.prior_precisions),
            ("bias precisions", () if self.bias_precisions is None else self.bias_precisions),
        ):
            numbers = map(as_number, precisions) if is_ordered(precisions) else [None]
            if not all(p is not None and 0 < p < float("inf") for p in numbers):
                raise InputError(f"{name} must be positive and finite, got {shown(precisions)}")

    def _check_own_layers(self, layers: tuple[Layer, ...]) -> None:
        advice = "(InputLayer(in_size), DenseLayer(activation))"
        if not isinstance(layers, tuple) or not layers or not isinstance(layers[0], InputLayer):
            raise InputError(
                "layers are a tuple that begins with an InputLayer, got "
                f"{shown(layers)}: write {advice}"
            )
        for layer in layers:
            require_kind("each of the layers", layer, Layer, advice)
        for name, precisions in (("prior", self.prior_precisions), ("bias", self.bias_precisions)):
            if precisions is not None and len(precisions) != len(layers):
                raise InputError(
                    f"{len(layers)} layer(s) need as many {name} precisions, got "
                    f"{len(precisions)}: {precisions}"
                )

    def _check_widths(self, widths: tuple[int, ...]) -> None:
        is_list = isinstance(widths, tuple | list)
        if not is_list or not all((as_whole(width) or 0) > 0 for width in widths):
            raise InputError(
                f"hidden widths must be positive, got {shown(widths)}: write whole numbers, (200,)"
            )
        if self.own_layers is not None:
            return
        num_layers = len(widths) + 1
        of_weights, of_biases = self.prior_precisions, self.bias_precisions
        for name, precisions in (
            ("prior", of_weights), ("bias", of_weights if of_biases is None else of_biases)
        ):  # fmt: skip
            if len(precisions) != num_layers:
                raise InputError(
                    f"{num_layers - 1} hidden layer(s) need {num_layers} {name} precisions "
                    f"λ_0 … λ_L, got {len(precisions)}: {precisions}"
                )
        if self.patches is None:
            return
        if num_layers != 2:
            raise InputError(
                f"a convolutional network has one hidden layer, got hidden widths {widths}"
            )
        if np.prod(self.patches.image_shape) != self.in_size:
            raise InputError(
                f"images of shape {self.patches.image_shape} have "
                f"{np.prod(self.patches.image_shape)} inputs, not {self.in_size}"
            )


@dataclass(frozen=True)
class Diagnostics:
    """Whether chains may be believed, over every reported number and every test prediction.

    `rhat` and `ess` hold, for each reported number, R̂ and the smaller of bulk and tail ESS;
    `rhat_max` and `ess_min` are the worst over those and over the predictions at all test points.
    Chains that left the finite numbers are in `diverged_chains` and in no average. A dynamics with
    an acceptance step has the mean `acceptance`, and in `nonfinite` the fraction of its proposals
    that left the finite numbers and were rejected. `constant` names the series that are the same in
    every draw of every chain ("f at 1 of 200 test points"): they have no Monte-Carlo error, no R̂
    and no ESS, and do not count.

    That chains agree does not say that they have found all of the posterior: a ladder of
    temperatures is the check (`analysis.diagnostics`).
    """

    rhat: dict[str, float]
    ess: dict[str, float]
    rhat_max: float
    ess_min: float
    num_chains: int
    num_draws: int
    diverged_chains: int
    acceptance: float | None = None
    nonfinite: float | None = None
    constant: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class Generalisation(Displayed):
    """What a network knows after Bayesian learning: the result of an experiment or of a theory.

    With f̄(x) = ⟨f(x)⟩ over the posterior, averages over the test examples (x, y) of

        bias² = (y − f̄(x))²,   variance = ⟨(f(x) − f̄(x))²⟩,   generalisation error = their sum,

    each summed over the outputs where there are several. `predictive_mean` and
    `predictive_variance` are f̄ and the posterior variance of f at each test point, (P_test,) or
    (P_test, D). `train_error` is ⟨(y − f)²⟩ averaged over the training examples.
    `test_accuracy` is the fraction of test points where f̄ is strictly on the target's side of the
    targets' midpoint, or with several outputs where the largest of f̄, larger than the others, is
    the largest of the targets: ties are wrong.
    `order_parameters` are the theory's Q_1 … Q_L, or the rows of the matrix Q (empty for an
    experiment); `log_evidence` is the theory's log p(y | X), None where it has none. `converged`
    and `message` say whether the result may be used and why not. `diagnostics` is the
    experiment's, and so is `step_size_bias`, None where there is none; where there is one that is
    not known (with a ladder), its shifts are NaN and its `message` says so. The numbers have not
    been corrected by it. `variance_reduction` says by how much control variates have made the
    variance of Monte-Carlo errors smaller, of bias² ("bias2") and of f̄ at the median test point
    ("predictions"); None where none were recorded, or none helped.
    """

    name: str
    predictive_mean: Float[np.ndarray, " P_test *D"]
    predictive_variance: Float[np.ndarray, " P_test *D"]
    bias2: Estimate
    variance: Estimate
    generalisation_error: Estimate
    train_error: Estimate
    test_accuracy: Estimate
    order_parameters: tuple[float, ...] | tuple[tuple[float, ...], ...] = ()
    log_evidence: float | None = None
    converged: bool = True
    message: str = ""
    diagnostics: Diagnostics | None = None
    step_size_bias: StepSizeBias | None = None
    variance_reduction: dict[str, float] | None = None

    def __post_init__(self) -> None:
        require_text("the name of a result", self.name)
        for name in ESTIMATES:
            require_kind(name, getattr(self, name), Estimate, "Estimate(value)")

    @property
    def biased(self) -> tuple[str, ...]:
        """The numbers that the step size shifts by more than their standard error, by name."""
        return () if self.step_size_bias is None else self.step_size_bias.beyond_the_error(self)

    @property
    def _table(self) -> Table:
        return with_messages(results_table([self]), [self])
