"""What the sides of the package share: the ensemble's specification and the type of a result.

`sampling` and `theory` never import each other. They meet in two records: `EnsembleSpec` says
what is studied, `Generalisation` says what was found, whether a sampler or a theory found it.

Shapes: P training examples, P_test test examples, N_0 inputs, N_1 … N_L hidden units, D outputs.
With one output, arrays over examples have no axis for it: y is (P,), and (P, D) for D > 1.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from langevin_nn.config.fields import shown
from langevin_nn.errors import InputError as InputError
from langevin_nn.estimates import Estimate as Estimate
from langevin_nn.estimates import StepSizeBias as StepSizeBias
from langevin_nn.values import (
    as_number,
    as_whole,
    is_ordered,
    require_array,
    require_flag,
    require_function,
    require_kind,
    require_text,
)

ChainKeys = Key[Array, " chains"]
"""One typed JAX key for each chain."""

PointKeys = Key[Array, "points chains"]
"""One typed JAX key for each chain of each of the points that run side by side."""


THREEFRY = "threefry2x32"


def is_key(leaf: Any) -> bool:
    """Whether it is an array of typed keys."""
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def as_threefry(key: PRNGKeyArray) -> PRNGKeyArray:
    """A typed key, as it is if it is Threefry's, or one that is made of its words."""
    if str(jax.random.key_impl(key)) == THREEFRY:
        return key
    words = jax.random.key_data(key)
    made = jax.random.wrap_key_data(words[:2], impl=THREEFRY)
    for word in words[2:]:
        made = jax.random.fold_in(made, word)
    return made


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
    given = f"several, of shape {shape}" if several else f"{type(key).__name__} {shown(key, 60)}"
    raise InputError(f"key must be one random key of JAX, got {given}: write jax.random.key(0)")


CHAIN_AXIS = "chains"
"""The axis of the device mesh over which chains are shared out."""


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

    def __post_init__(self) -> None:
        require_text("the name of an activation", self.name)
        require_function("the function of an activation", self.function, "jax.numpy.tanh")
        require_function("the dual of an activation", self.dual, "activation(function) for one")
        require_flag("odd", self.odd)

    def __call__(self, z: Array) -> Array:
        return self.function(require_array("z", z))

    def __hash__(self) -> int:  # a callable object need not have one
        return hash((self.name, self.dual, self.odd))

    def derivative_dual(self, a: Array, b: Array, c: Array) -> Array:
        """E[σ'(u)σ'(v)] = ∂κ/∂c (Price's theorem), exact where κ is; arguments as for `dual`."""
        numbers = (require_array(name, each) for name, each in zip("abc", (a, b, c), strict=True))
        a, b, c = (jnp.asarray(each) for each in numbers)
        shape = jnp.broadcast_shapes(a.shape, b.shape, c.shape)
        c = jnp.broadcast_to(c, shape)
        return jax.jvp(lambda c: self.dual(a, b, c), (c,), (jnp.ones_like(c),))[1]


@dataclass(frozen=True)
class Patches:
    """Square patches of an image: the receptive fields of a convolutional layer.

    An input x (N_0,) is an image of `image_shape` (height, width, colours), rows first, colours
    last. Patches have `size` × `size` pixels of all colours; neighbours are `stride` pixels apart,
    and all lie inside the image.

    Raises `InputError` for patches that do not fit the image.

    >>> patches = Patches((4, 4, 1), size=2, stride=2)
    >>> patches.num_patches, patches.patch_size, patches.indices()[1]
    (4, 4, array([2, 3, 6, 7]))
    """

    image_shape: tuple[int, int, int]
    size: int
    stride: int

    def __post_init__(self) -> None:
        shape = self.image_shape if isinstance(self.image_shape, tuple | list) else ()
        sizes = (*shape, self.size, self.stride)
        if len(sizes) != 5 or not all((as_whole(size) or 0) >= 1 for size in sizes):
            raise InputError(
                "an image shape is (height, width, colours), and patches have a positive size and "
                f"stride, all whole numbers: got {shown(self.image_shape)}, size "
                f"{shown(self.size)}, stride {shown(self.stride)}"
            )
        height, width, colours = self.image_shape
        if height in (1, 3) and width == colours > 4:
            raise InputError(
                f"images of height {height} with {colours} colours have their colours first: write "
                f"x.transpose(0, 2, 3, 1), and image_shape = ({width}, {colours}, {height})"
            )
        if self.size > min(self.image_shape[:2]):
            raise InputError(
                f"patches of {self.size} × {self.size} pixels do not fit into images of "
                f"{self.image_shape[0]} × {self.image_shape[1]}: give a smaller patch size"
            )

    @property
    def num_patches(self) -> int:
        """n, the number of patches."""
        return len(self._starts(0)) * len(self._starts(1))

    @property
    def patch_size(self) -> int:
        """M, the number of inputs of one patch."""
        return self.size**2 * self.image_shape[2]

    def indices(self) -> Int[np.ndarray, "n M"]:
        """The places in x of each patch's inputs."""
        places = np.arange(np.prod(self.image_shape)).reshape(self.image_shape)
        return np.array(
            [
                places[i : i + self.size, j : j + self.size].ravel()
                for i in self._starts(0)
                for j in self._starts(1)
            ]
        )

    def _starts(self, axis: int) -> range:
        return range(0, self.image_shape[axis] - self.size + 1, self.stride)


@dataclass(frozen=True)
class EnsembleSpec:
    """The ensemble p(θ) ∝ exp(−β𝓛(θ)) without the network itself: all that a theory may know.

    `hidden_widths` and `activation` are None for a network whose Gram matrix the package does not
    know; `architecture` then says which network that is. `temperature` is T = 1/β; a theory takes
    T = 0 as well. `bias_precisions` are those of the biases of layers 0 … L (the read-out's last),
    None for a network without biases. `patches` are a convolutional layer's, whose channels are
    the one hidden width; None for a fully connected network. `loss` is the name of ℓ in 𝓛; the
    theories describe the squared one.
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

    def __post_init__(self) -> None:
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
        for text in ("architecture", "loss"):
            require_text(text, getattr(self, text))
        if self.activation is not None:
            require_kind("activation", self.activation, Activation, 'activation("erf")')
        if self.patches is not None:
            require_kind("patches", self.patches, Patches, "Patches(image_shape, size, stride)")
        if self.hidden_widths is None:
            return
        is_list = isinstance(self.hidden_widths, tuple | list)
        if not is_list or not all((as_whole(width) or 0) > 0 for width in self.hidden_widths):
            raise InputError(
                f"hidden widths must be positive, got {shown(self.hidden_widths)}: write whole "
                "numbers, (200,)"
            )
        num_layers = len(self.hidden_widths) + 1
        of_weights, of_biases = self.prior_precisions, self.bias_precisions
        for name, given in (
            ("prior", of_weights), ("bias", of_weights if of_biases is None else of_biases)
        ):  # fmt: skip
            if len(given) != num_layers:
                raise InputError(
                    f"{num_layers - 1} hidden layer(s) need {num_layers} {name} precisions "
                    f"λ_0 … λ_L, got {len(given)}: {given}"
                )
        if self.patches is None:
            return
        if num_layers != 2:
            raise InputError(
                f"a convolutional network has one hidden layer, got hidden widths "
                f"{self.hidden_widths}"
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


@dataclass(frozen=True)
class Generalisation:
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
    been corrected by it.
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

    def __post_init__(self) -> None:
        require_text("the name of a result", self.name)
        for name in (
            "bias2", "variance", "generalisation_error", "train_error", "test_accuracy"
        ):  # fmt: skip
            require_kind(name, getattr(self, name), Estimate, "Estimate(value)")

    @property
    def biased(self) -> tuple[str, ...]:
        """The numbers that the step size shifts by more than their standard error, by name."""
        return () if self.step_size_bias is None else self.step_size_bias.beyond_the_error(self)
