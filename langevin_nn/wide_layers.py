"""Layers as their widths grow: the twin of each finite layer, on covariances.

A network owns its kernel, as an activation owns its dual: its `layers` say what each does to the
covariances of preactivations (`covariances`), and Gram matrices, tangent kernels, theories and
derivatives of the evidence are loops over them.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from langevin_nn.covariances import Activation, Covariance
from langevin_nn.errors import InputError
from langevin_nn.values import as_whole, shown

__all__ = ["DenseLayer", "InputLayer", "Layer", "PatchLayer", "Patches"]


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
        """The indices in x of the inputs of each patch."""
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
class Layer(abc.ABC):
    """One layer as its width grows: from the covariances of one preactivation to the next ones.

    Layers are equal where their fields are, as compiled programs are kept for those that are equal.
    They act on each position alone; the read-out makes the mean of all positions.
    """

    inverse_to_precision: ClassVar[bool] = False
    """Whether the covariances are proportional to 1/λ, as those of a read-out."""

    @abc.abstractmethod
    def __call__(
        self, covariance: Covariance, precision: Any, scale: Any = 1.0, bias: Any = None
    ) -> Covariance:
        """The covariances of the next preactivation; arguments as for `Covariance.weighted`."""

    def precision_of_linear(self, precision: Any) -> Any:
        """The λ' that the layer divides covariances by; None where it does more than divide."""
        return None


@dataclass(frozen=True)
class InputLayer(Layer):
    """The first layer, h = W x/√M + b, of x·x': E[h h'] = x·x'/(λ M) + 1/λ_b.

    `size` is M, the number of inputs at each position, which `positions` gives.

    >>> InputLayer(2)(Covariance.of_inputs(np.eye(2)), precision=0.5).between
    array([[1., 0.],
           [0., 1.]])
    """

    size: int
    inverse_to_precision: ClassVar[bool] = True

    def positions(self, x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, "n P M"]:
        """The inputs at each position, of which there is one with all of them."""
        return x[None]

    def __call__(
        self, covariance: Covariance, precision: Any, scale: Any = 1.0, bias: Any = None
    ) -> Covariance:
        return covariance.weighted(precision, scale, bias, self.size)


@dataclass(frozen=True)
class PatchLayer(InputLayer):
    """The first layer on patches of images, with the same weights at each.

    Made by `PatchLayer.on`.

    >>> PatchLayer.on(Patches((4, 4, 1), size=2, stride=2)).positions(np.ones((3, 16))).shape
    (4, 3, 4)
    """

    patches: Patches

    @classmethod
    def on(cls, patches: Patches) -> "PatchLayer":
        """The first layer on these patches of images."""
        return cls(patches.patch_size, patches)

    def positions(self, x: Float[np.ndarray, "P N_0"]) -> Float[np.ndarray, "n P M"]:
        """The inputs of each patch, the patches first."""
        return np.moveaxis(x[:, self.patches.indices()], 1, 0)


@dataclass(frozen=True)
class DenseLayer(Layer):
    """A dense layer on the activations of the one before, h' = W σ(h)/√N + b.

    >>> prior = Covariance.of_inputs(np.eye(2)).weighted(2.0)
    >>> DenseLayer(identity)(prior, precision=0.25, scale=3.0).between
    array([[6., 0.],
           [0., 6.]])
    """

    activation: Activation
    inverse_to_precision: ClassVar[bool] = True

    def __call__(
        self, covariance: Covariance, precision: Any, scale: Any = 1.0, bias: Any = None
    ) -> Covariance:
        return covariance.activated(self.activation).weighted(precision, scale, bias)

    def precision_of_linear(self, precision: Any) -> Any:
        """λ itself where the activation is linear; None where it is not."""
        return precision if getattr(self.activation.dual, "is_linear", False) else None
