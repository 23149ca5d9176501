"""What is said of a network's representation: measures of its layers' kernels, and Q.

With Φ the kernel of a hidden layer at the P training inputs, (P, P), and the labels Y (P, D),

    alignment = Tr YᵀΦY/(‖YYᵀ‖_F ‖Φ‖_F),   participation ratio = (Tr Φ)²/Tr Φ²,   trace = Tr Φ/P,

its size along the labels is Tr YᵀΦY/Tr YᵀY, and its spectrum is e_kᵀΦe_k along the eigenvectors e_k
of the layer's kernel at infinite width, the largest eigenvalue first. Each function takes arrays of
NumPy and of JAX: a draw of a sampler and a theory are measured by the same lines.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float

from langevin_nn.estimates import Estimate

Matrix = Float[np.ndarray | Array, "P P"]


def alignment(gram: Matrix, y: Float[np.ndarray | Array, "P D"], square: Any = None) -> Any:
    """Tr YᵀΦY/(‖YYᵀ‖_F ‖Φ‖_F) of the kernel `gram` (P, P) and the labels Y (P, D), up to 1.

    It is 1 for Φ ∝ YYᵀ: Cristianini et al. 2001, with labels that are not centred. `square` takes
    the place of Tr Φ², where `gram` is a mean over kernels.

    >>> alignment(np.diag([1.0, 1.0]), np.array([[1.0], [-1.0]])).round(4)
    np.float64(0.7071)
    """
    square = (gram**2).sum() if square is None else square
    norms = ((y.T @ y) ** 2).sum() * square
    return (y * (gram @ y)).sum() / norms**0.5


def along_labels(gram: Matrix, y: Float[np.ndarray | Array, "P D"]) -> Any:
    """Tr YᵀΦY/Tr YᵀY of the kernel `gram` (P, P) and the labels Y (P, D): its size along them.

    >>> along_labels(np.diag([2.0, 1.0]), np.array([[1.0], [-1.0]]))
    np.float64(1.5)
    """
    return (y * (gram @ y)).sum() / (y**2).sum()


def participation_ratio(gram: Matrix, square: Any = None) -> Any:
    """(Tr Φ)²/Tr Φ²: the number of directions that the kernel `gram` (P, P) has, 1 to P.

    `square` as for `alignment`.

    >>> participation_ratio(np.diag([2.0, 2.0, 0.0]))
    np.float64(2.0)
    """
    return gram.trace() ** 2 / ((gram**2).sum() if square is None else square)


def mean_square(gram: Matrix) -> Any:
    """Tr Φ/P of the kernel `gram` (P, P).

    >>> mean_square(np.diag([2.0, 2.0, 0.5]))
    np.float64(1.5)
    """
    return gram.trace() / len(gram)


def along(gram: Matrix, basis: Float[np.ndarray | Array, "P m"]) -> Any:
    """e_kᵀΦe_k of the kernel `gram` (P, P) and each column e_k of the `basis` (P, m).

    >>> along(np.diag([2.0, 1.0]), np.eye(2))
    array([2., 1.])
    """
    return (basis * (gram @ basis)).sum(axis=0)


class Measure(NamedTuple):
    """A measure of a layer's kernel: function(gram), or function(gram, the `needs` of the layer).

    `needs` is "labels", "basis" or "" for nothing; one that `has_square` takes Tr Φ² by that name.
    """

    function: Callable[..., Any]
    needs: str = ""
    has_square: bool = False


class Series(NamedTuple):
    """What a recorded series is: its dimensions after chain and draw, and its words."""

    of: str
    dims: tuple[str, ...]
    long_name: str
    description: str


_KERNEL = "Φ = σ(h)σ(h)ᵀ/(N λ) at the training inputs, of each hidden layer"
MEASURES: Mapping[str, Measure] = {
    "alignment": Measure(alignment, "labels", has_square=True),
    "along_labels": Measure(along_labels, "labels"),
    "participation_ratio": Measure(participation_ratio, has_square=True),
    "trace": Measure(mean_square),
    "spectrum": Measure(along, "basis"),
}
"""The measures of a layer's kernel; the fields of `KernelNumbers` of the same names hold them."""
SERIES: Mapping[str, Series] = {
    "kernel_alignment": Series(
        "kernel", ("layer",), "alignment with the labels",
        f"Tr YᵀΦY/(‖YYᵀ‖_F ‖Φ‖_F), {_KERNEL}",
    ),
    "kernel_along_labels": Series(
        "kernel", ("layer",), "kernel along the labels", f"Tr YᵀΦY/Tr YᵀY, {_KERNEL}"
    ),
    "kernel_participation_ratio": Series(
        "kernel", ("layer",), "participation ratio", f"(Tr Φ)²/Tr Φ², {_KERNEL}"
    ),
    "kernel_trace": Series("kernel", ("layer",), "trace of the kernel", f"Tr Φ/P, {_KERNEL}"),
    "kernel_spectrum": Series(
        "kernel", ("layer", "mode"), "kernel along the eigenvectors of infinite width",
        f"e_kᵀΦe_k, the largest eigenvalue at infinite width first, {_KERNEL}",
    ),
    "order_parameter": Series(
        "order_parameter", (), "order parameter", "Q = λ_L |v|²/N_L of the read-out v of a draw"
    ),
}  # fmt: skip
"""The series that are recorded, by name; those of several outputs in `MATRICES`."""
MATRICES: Mapping[str, Series] = {
    "order_parameter": Series(
        "order_parameter", ("output_row", "output_column"), "order parameters",
        "Q = λ_L v vᵀ/N_L of the read-outs v of a draw, a matrix over the outputs",
    ),
}  # fmt: skip


def series_of(name: str, num_dims: int) -> Series | None:
    """The series of this name with so many dimensions after chain and draw; None for others.

    >>> series_of("kernel_spectrum", 2).dims, series_of("order_parameter", 2).dims
    (('layer', 'mode'), ('output_row', 'output_column'))
    """
    for table in (SERIES, MATRICES):
        if name in table and len(table[name].dims) == num_dims:
            return table[name]
    return None


@dataclass(frozen=True, kw_only=True)
class KernelNumbers:
    """The measures of one hidden layer's kernel Φ, averaged over the posterior.

    `alignment` with the labels, `along_labels` Tr YᵀΦY/Tr YᵀY, `participation_ratio`, `trace` Tr
    Φ/P, and the `spectrum` e_kᵀΦe_k, (P,), along the eigenvectors of the kernel at infinite width,
    in their order.
    """

    alignment: Estimate
    along_labels: Estimate
    participation_ratio: Estimate
    trace: Estimate
    spectrum: tuple[Estimate, ...]


@dataclass(frozen=True, kw_only=True)
class Representation:
    """What a result says of the network's representation: of chains, or of a theory.

    `kernel` has the numbers of each hidden layer, from the inputs on, and `order_parameter` the
    rows of the matrix Q over the outputs, one number for one output. Either is empty where it was
    not recorded, or the theory does not say it. A theory's numbers have no errors; its alignment
    and participation ratio have the means of YᵀΦY, Tr Φ and Tr Φ² in them, and differ from the mean
    of the ratio by a part of order 1/N.
    """

    kernel: tuple[KernelNumbers, ...] = ()
    order_parameter: tuple[tuple[Estimate, ...], ...] = ()


def kernel_numbers(
    gram: Float[np.ndarray, "P P"],
    square: float,
    labels: Float[np.ndarray, "P D"],
    basis: Float[np.ndarray, "P P"],
) -> KernelNumbers:
    """The measures of the mean `gram` of Φ, with the mean `square` of Tr Φ², without errors.

    >>> numbers = kernel_numbers(np.diag([2.0, 1.0]), 9.0, np.ones((2, 1)), np.eye(2))
    >>> numbers.spectrum, numbers.participation_ratio
    ((2, 1), 1)
    """
    needed = {"labels": (labels,), "basis": (basis,), "": ()}
    with np.errstate(invalid="ignore"):  # labels, or a kernel, that vanish
        numbers = {
            name: measure.function(
                gram, *needed[measure.needs], **({"square": square} if measure.has_square else {})
            )
            for name, measure in MEASURES.items()
        }
    spectrum = tuple(Estimate(float(number)) for number in numbers.pop("spectrum"))
    of_one = {name: Estimate(float(number)) for name, number in numbers.items()}
    return KernelNumbers(**of_one, spectrum=spectrum)
