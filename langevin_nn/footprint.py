"""The memory that a run takes, estimated before it is taken.

The factors were measured: the growth of a process's resident memory, at several sizes, in which
one part stood out. Weights and activations are carried by every chain of every point; the factors
count their copies (state before and after, gradient, noise, and what the compiler keeps between).
"""

import contextlib
import math
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from langevin_nn.errors import InputError
from langevin_nn.memory import available_memory

MARGINALISED_ACTIVATION_COPIES, MATRIX_COPIES = 16.0, 4.0
"""Copies of one chain's activations where the read-out is marginalised, and of a P × P matrix."""
DRAW_COPIES, KEPT_COPIES, WRITTEN_COPIES, ANALYSED_BYTES = 7.0, 2.5, 14.0, 75.0
"""Copies of a recorded series while it is sampled and after; of f at the training inputs while
posterior.nc is made; and the bytes that a number of f at a test input takes while the chains of one
posterior are summarised, in float64 and one posterior after another."""
CONTROL_BYTES = 25.0
"""The bytes that each control variate of such a number takes while chains are summarised."""
SERIES_BYTES = 128e6
"""The most bytes of a series, beside f at the test inputs or following from it, that is kept."""
GRAM_COPIES, CROSS_COPIES = 5.3, 1.4
"""Copies of matrices P × P and P × P_test in a theory."""
FEWER_UNITS, PROGRAMS_OF_PATCHES = 8, 100e6
"""The most times that a theory of features samples fewer units where each has several patches, and
the bytes of compiled programs that it takes beside its own then."""
KEPT_UNIT_BYTES = 256e6
"""The most bytes of hidden units' features at all inputs that theories keep for each other."""
KEPT_WEIGHT_COPIES, KEPT_PARAMS_COPIES, BUFFER_BYTES = 6.0, 3.0, 64e6
"""Copies of the weights of one draw where these are kept, and of the parameters of several draws on
their way, which take so many bytes at most."""
CONTROL_COPIES = 15.0
"""Copies of the activations at training and test inputs while control variates are recorded."""
PROGRAMS, PROGRAMS_OF_SLOPES = 15e6, 120e6
"""Bytes of compiled programs and of blocks that do not grow with P; the second where the bias of a
dynamics is measured with the read-out marginalised, by curvatures and slopes of factors."""
WARNING_SHARE = 0.7
"""The share of the memory that is left above which a warning is due."""


KERNEL_COPIES, KERNEL_COPIES_OF_LAYER = 4.0, 4.0
"""The P × P matrices of each network while the kernels of its layers are measured.

With 8 chains and P = 1,500 they were 7.5 with one layer and 10.7 with two.
"""


@dataclass(frozen=True)
class Copies:
    """The copies of its weights and of its activations that a dynamics carries of one chain.

    With momenta there are more. `slopes` says whether the bias of its step size is measured.
    """

    weights: float = 28.0
    activations: float = 7.0
    slopes: bool = False


@dataclass(frozen=True)
class Sizes:
    """The sizes of one network and its data, and the number of networks sampled side by side.

    `num_units` are the activations that one input takes, over all hidden layers (and patches).
    `copies` is what their dynamics carries (`sampling.base.Dynamics.copies`).
    `num_together` of the networks are the chains of one posterior; `written` says whether their
    draws become a file. `num_kept` are the weights of one network where each draw's are kept, and
    `num_kernels` the layers whose kernels are measured at each draw.
    """

    num_weights: int
    num_units: int
    num_train: int
    num_test: int
    num_outputs: int = 1
    num_networks: int = 1
    num_samples: int = 4
    itemsize: int = 4
    marginalised: bool = False
    copies: Copies = Copies(slopes=True)
    num_together: int | None = None
    written: bool = False
    num_kept: int = 0
    num_controls: int = 0
    num_kernels: int = 0


def of_sampling(sizes: Sizes) -> dict[str, float]:
    """The bytes that sampling takes, by what takes them."""
    bytes_per_entry = float(sizes.num_networks * sizes.itemsize)
    examples = max(sizes.num_train, sizes.num_test)
    activations = sizes.copies.activations
    if sizes.marginalised:
        activations = MARGINALISED_ACTIVATION_COPIES
    has_slopes = sizes.marginalised and sizes.copies.slopes
    parts = {
        "weights": sizes.copies.weights * bytes_per_entry * sizes.num_weights,
        "activations": activations * bytes_per_entry * sizes.num_units * examples,
        "draws": _draws_bytes(sizes),
        "programs": PROGRAMS_OF_SLOPES if has_slopes else PROGRAMS,
    }
    if sizes.marginalised:  # the smaller of both is what is factorised
        parts["factors"] = (
            MATRIX_COPIES * bytes_per_entry * min(sizes.num_train, sizes.num_units) ** 2
        )
    if sizes.num_controls:
        examples = sizes.num_train + sizes.num_test
        parts["control variates"] = CONTROL_COPIES * bytes_per_entry * sizes.num_units * examples
    if sizes.num_kernels:
        copies = KERNEL_COPIES + KERNEL_COPIES_OF_LAYER * sizes.num_kernels
        parts["kernels of the layers"] = copies * bytes_per_entry * sizes.num_train**2
    if sizes.num_kept:
        params = sizes.num_samples * bytes_per_entry * sizes.num_weights
        parts["kept weights"] = KEPT_WEIGHT_COPIES * bytes_per_entry * sizes.num_kept
        parts["kept weights"] += KEPT_PARAMS_COPIES * min(params, BUFFER_BYTES)
    return parts


def _draws_bytes(sizes: Sizes) -> float:
    """Bytes of the draws while they are sampled, analysed or written, whichever is most."""
    num_together = sizes.num_networks if sizes.num_together is None else sizes.num_together
    num_posteriors = sizes.num_networks / num_together
    numbers = float(num_together * sizes.num_samples * sizes.num_outputs)
    at_test = sizes.itemsize * numbers * sizes.num_test
    at_train = sizes.itemsize * numbers * sizes.num_train
    spectra = sizes.itemsize * num_together * sizes.num_samples * sizes.num_kernels
    if at_train > SERIES_BYTES:  # not kept
        at_train = 0.0
    if sizes.marginalised:  # f, its mean and its variance
        at_test *= 3 + sizes.num_controls
    at_test += spectra * sizes.num_train
    kept_bytes = KEPT_COPIES * num_posteriors * (at_test + at_train)
    return max(
        DRAW_COPIES * num_posteriors * (at_test + at_train),
        kept_bytes
        + (ANALYSED_BYTES + CONTROL_BYTES * sizes.num_controls) * numbers * sizes.num_test,
        kept_bytes + WRITTEN_COPIES * at_train if sizes.written else 0.0,
    )


@dataclass(frozen=True)
class Needs:
    """The P × P matrices of a theory, some for each hidden layer or pair of patches, and programs.

    `sampled` are the hidden units whose features at the training inputs it keeps, and `shared`
    those whose features at all inputs it keeps where they take `KEPT_UNIT_BYTES` at most. D outputs
    that it couples take `per_output_pair` such matrices, and `per_unit_pair` numbers of each
    sampled unit, D² − 1 times more. With n patches units have n times the features, and are as much
    fewer, up to `FEWER_UNITS` times; of the numbers of each unit there are half as many, n² − 1
    times. Where theories are not named, this one counts for depths from `least_depth` to
    `most_depth`.

    >>> Needs(per_layer=1.0).num_matrices(depth=3, patches=None)
    8.3
    """

    matrices: float = GRAM_COPIES
    per_layer: float = 0.0
    per_pair: float = 0.0
    programs: float = PROGRAMS
    sampled: int = 0
    shared: int = 0
    per_output_pair: float = 0.0
    per_unit_pair: float = 0.0
    least_depth: int = 0
    most_depth: int = sys.maxsize

    def num_matrices(self, depth: int, patches: int | None) -> float:
        """The number of P × P matrices in all."""
        return self.matrices + self.per_layer * depth + self.per_pair * (patches or 0) ** 2


def of_theories(
    num_train: int,
    num_test: int,
    needs: Iterable[Needs],
    depth: int = 1,
    patches: int | None = None,
    num_outputs: int = 1,
) -> dict[str, float]:
    """Bytes of Gram matrices, their eigenvectors and derivatives, in float64, and of programs.

    They are those of the theory that takes most, as one comes after the other, for a fully
    connected network of `depth` hidden layers or a convolutional one of so many patches, and for so
    many outputs.

    >>> of_theories(1000, 0, [Needs()])["Gram matrices"] / 8e6
    5.3
    """

    def parts(need: Needs) -> dict[str, float]:
        pairs = (patches or 0) ** 2 if need.per_pair else 0
        entries = need.num_matrices(depth, patches) * num_train**2
        entries += (CROSS_COPIES + pairs) * num_train * num_test
        copies = patches or 1
        num_units = need.sampled / min(copies, FEWER_UNITS)
        of_outputs = num_outputs**2 - 1
        entries += need.per_output_pair * of_outputs * num_train * (num_train + num_test)
        numbers = need.per_unit_pair * (of_outputs + (copies**2 - 1) / 2)
        sampled = 8.0 * num_units * (copies * num_train + numbers)
        shared = 8.0 * need.shared * (num_train + num_test)
        sampled += shared if shared <= KEPT_UNIT_BYTES else 0.0
        programs = need.programs + (PROGRAMS_OF_PATCHES if need.sampled and patches else 0)
        return {"Gram matrices": 8.0 * entries, "units": sampled, "programs": programs}

    return max(map(parts, (Needs(), *needs)), key=lambda sizes: sum(sizes.values()))


def by_default(needs: Iterable[Needs], depth: int, patches: int | None) -> list[Needs]:
    """The needs of those theories that are asked about this network where none is named.

    >>> by_default([Needs(least_depth=2), Needs(most_depth=1)], 3, None)
    [Needs(matrices=5.3, per_layer=0.0, per_pair=0.0, programs=15000000.0, sampled=0, shared=0, per_output_pair=0.0, per_unit_pair=0.0, least_depth=2, most_depth=9223372036854775807)]
    """  # noqa: E501
    return [
        need for need in needs
        if need.least_depth <= depth <= need.most_depth
        and (patches is None or need.per_pair or not need.per_layer)
    ]  # fmt: skip


def require(parts: Mapping[str, float], remedy: str, available: float | int | None = None) -> str:
    """The warning that `parts`, in bytes, only just fit the memory that is left, else "".

    Raises `InputError`, with the numbers, where they do not fit.
    """
    total = math.fsum(parts.values())
    left = available_memory() if available is None else available
    sizes = ", ".join(
        f"{name} {in_words(size)}" for name, size in sorted(parts.items(), key=lambda p: -p[1])
        if size > total / 20
    )  # fmt: skip
    if total > left:
        raise InputError(
            f"not enough memory: this takes about {in_words(total)} ({sizes}), and "
            f"{in_words(left)} are left: {remedy}"
        )
    if total > WARNING_SHARE * left:
        return (
            f"this takes about {in_words(total)} of memory ({sizes}), and {in_words(left)} are left"
        )
    return ""


class TightMemory(UserWarning):
    """The warning that what is asked for only just fits the memory that is left."""


def require_and_warn(
    parts: Mapping[str, float], remedy: str, available: float | int | None = None
) -> None:
    """Warn with `TightMemory` where `parts`, in bytes, only just fit the memory that is left.

    Raises `InputError`, with the numbers, where they do not fit.
    """
    if warning := require(parts, remedy, available):
        warnings.warn(warning, TightMemory, stacklevel=4)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """A context without `TightMemory` warnings, for a run that was checked as a whole before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TightMemory)
        yield


def in_words(num_bytes: float | int) -> str:
    """A number of bytes in the unit that suits it.

    >>> in_words(3.2e9), in_words(15e6), in_words(6080), in_words(8e15)
    ('3.2 GB', '15 MB', '6.08 kB', '8e+06 GB')
    """
    if num_bytes >= sys.maxsize:
        return "more than any machine has"
    size, unit = next((pair for pair in _UNITS if num_bytes >= pair[0]), _UNITS[-1])
    return f"{num_bytes / size:.3g} {unit}"


_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
"""The units of a number of bytes, the largest first."""


@dataclass(frozen=True)
class NetworkSizes:
    """The sizes of a network that is not made yet: its weights as they are sampled and as drawn.

    `num_units` as in `Sizes`; `depth` hidden layers on so many `patches`, None for none.
    """

    num_weights: int
    num_drawn: int
    num_units: int
    depth: int
    patches: int | None = None


def num_weights(sizes: Sequence[int], biases: bool) -> int:
    """The number of weights of a fully connected network with layers N_0 … N_L and the outputs.

    >>> num_weights((3, 20, 1), True)
    101
    """
    weights = sum(before * after for before, after in zip(sizes, sizes[1:], strict=False))
    return weights + (sum(sizes[1:]) if biases else 0)
