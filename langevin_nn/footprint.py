"""What a run takes of the memory, said before it is taken.

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
"""Copies of one chain's activations where the read-out is marginalised, of a P × P matrix."""
DRAW_COPIES, KEPT_COPIES, WRITTEN_COPIES, ANALYSED_BYTES = 7.0, 2.5, 14.0, 75.0
"""Copies of a recorded series while it is sampled and after; of f at the training inputs while
posterior.nc is made; and the bytes that a number of f at a test input takes while the chains of one
posterior are summarised, in float64 and one posterior after another."""
SERIES_BYTES = 128e6
"""What follows from the draws of f at the test inputs, or stands beside it, is kept up to this."""
GRAM_COPIES, CROSS_COPIES = 5.3, 1.4
"""Of matrices P × P and P × P_test in a theory."""
PROGRAMS, PROGRAMS_OF_SLOPES = 15e6, 120e6
"""Bytes of compiled programs, and of blocks that do not grow with P; of a dynamics whose bias is
measured, with the read-out marginalised: curvatures and slopes of factors are in its programs."""
TIGHT = 0.7
"""The share of the memory that is left above which a warning is due."""


@dataclass(frozen=True)
class Copies:
    """What a dynamics carries of one chain: copies of its weights and of its activations.

    With momenta there are more. `slopes` says whether the bias of its step size is measured.
    """

    weights: float = 28.0
    activations: float = 7.0
    slopes: bool = False


@dataclass(frozen=True)
class Sizes:
    """What is sampled, in numbers: of one network, and how many there are side by side.

    `num_units` are the activations that one input takes, over all hidden layers (and patches).
    `copies` is what their dynamics carries (`sampling.base.Dynamics.copies`).
    `num_together` of the networks are the chains of one posterior; `written` says whether their
    draws become a file.
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


def of_sampling(sizes: Sizes) -> dict[str, float]:
    """Bytes by what takes them."""
    many = float(sizes.num_networks * sizes.itemsize)
    examples = max(sizes.num_train, sizes.num_test)
    activations = sizes.copies.activations
    if sizes.marginalised:
        activations = MARGINALISED_ACTIVATION_COPIES
    sloping = sizes.marginalised and sizes.copies.slopes
    parts = {
        "weights": sizes.copies.weights * many * sizes.num_weights,
        "activations": activations * many * sizes.num_units * examples,
        "draws": _of_draws(sizes),
        "programs": PROGRAMS_OF_SLOPES if sloping else PROGRAMS,
    }
    if sizes.marginalised:  # the smaller of both is what is factorised
        parts["factors"] = MATRIX_COPIES * many * min(sizes.num_train, sizes.num_units) ** 2
    return parts


def _of_draws(sizes: Sizes) -> float:
    """Bytes of the draws while they are sampled, analysed or written, whichever is most."""
    together = sizes.num_networks if sizes.num_together is None else sizes.num_together
    posteriors = sizes.num_networks / together
    numbers = float(together * sizes.num_samples * sizes.num_outputs)
    at_test = sizes.itemsize * numbers * sizes.num_test
    at_train = sizes.itemsize * numbers * sizes.num_train
    if at_train > SERIES_BYTES:  # not kept
        at_train = 0.0
    if sizes.marginalised:  # f, its mean and its variance
        at_test *= 3
    kept = KEPT_COPIES * posteriors * (at_test + at_train)
    return max(
        DRAW_COPIES * posteriors * (at_test + at_train),
        kept + ANALYSED_BYTES * numbers * sizes.num_test,
        kept + WRITTEN_COPIES * at_train if sizes.written else 0.0,
    )


@dataclass(frozen=True)
class Needs:
    """What a theory takes: matrices P × P, some for each hidden layer or pair of patches; programs.

    Where theories are not named, it counts for depths from `least_depth` to `most_depth` alone.

    >>> Needs(per_layer=1.0).num_matrices(depth=3, patches=None)
    8.3
    """

    matrices: float = GRAM_COPIES
    per_layer: float = 0.0
    per_pair: float = 0.0
    programs: float = PROGRAMS
    least_depth: int = 0
    most_depth: int = sys.maxsize

    def num_matrices(self, depth: int, patches: int | None) -> float:
        """P × P matrices in all."""
        return self.matrices + self.per_layer * depth + self.per_pair * (patches or 0) ** 2


def of_theories(
    num_train: int,
    num_test: int,
    needs: Iterable[Needs],
    depth: int = 1,
    patches: int | None = None,
) -> dict[str, float]:
    """Bytes of Gram matrices, their eigenvectors and derivatives, in float64, and of programs.

    Of the theory that takes most, as one comes after the other, for a fully connected network of so
    many hidden layers or a convolutional one of so many patches.

    >>> of_theories(1000, 0, [Needs()])["Gram matrices"] / 8e6
    5.3
    """

    def parts(one: Needs) -> dict[str, float]:
        pairs = (patches or 0) ** 2 if one.per_pair else 0
        entries = one.num_matrices(depth, patches) * num_train**2
        entries += (CROSS_COPIES + pairs) * num_train * num_test
        return {"Gram matrices": 8.0 * entries, "programs": one.programs}

    return max(map(parts, (Needs(), *needs)), key=lambda each: sum(each.values()))


def by_default(needs: Iterable[Needs], depth: int, patches: int | None) -> list[Needs]:
    """Of theories that are not named, those that say something about this network.

    >>> by_default([Needs(least_depth=2), Needs(most_depth=1)], 3, None)
    [Needs(matrices=5.3, per_layer=0.0, per_pair=0.0, programs=15000000.0, least_depth=2, most_depth=9223372036854775807)]
    """  # noqa: E501
    return [
        each for each in needs
        if each.least_depth <= depth <= each.most_depth
        and (patches is None or each.per_pair or not each.per_layer)
    ]  # fmt: skip


def require(parts: Mapping[str, float], remedy: str, available: float | int | None = None) -> str:
    """Raise `InputError`, with the numbers, if this does not fit; a warning if it does just so."""
    total = math.fsum(parts.values())
    left = available_memory() if available is None else available
    words = ", ".join(
        f"{name} {in_words(size)}" for name, size in sorted(parts.items(), key=lambda p: -p[1])
        if size > total / 20
    )  # fmt: skip
    if total > left:
        raise InputError(
            f"not enough memory: this takes about {in_words(total)} ({words}), and "
            f"{in_words(left)} are left: {remedy}"
        )
    if total > TIGHT * left:
        return (
            f"this takes about {in_words(total)} of memory ({words}), and {in_words(left)} are left"
        )
    return ""


class TightMemory(UserWarning):
    """What is asked for fits the memory that is left just so."""


def require_and_warn(
    parts: Mapping[str, float], remedy: str, available: float | int | None = None
) -> None:
    """The same for callers in Python: what fits just so is a `TightMemory` warning."""
    if words := require(parts, remedy, available):
        warnings.warn(words, TightMemory, stacklevel=4)


@contextlib.contextmanager
def said() -> Iterator[None]:
    """Without `TightMemory` warnings: the whole of a run has been looked at, and it was said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TightMemory)
        yield


def in_words(num_bytes: float | int) -> str:
    """A number of bytes in the unit that suits it.

    >>> in_words(3.2e9), in_words(15e6), in_words(8e15)
    ('3.2 GB', '15 MB', '8e+06 GB')
    """
    if num_bytes >= sys.maxsize:
        return "more than any machine has"
    return f"{num_bytes / 1e9:.3g} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.3g} MB"


@dataclass(frozen=True)
class NetworkSizes:
    """Numbers of one network that is not made yet: of weights as they are sampled and drawn.

    `num_units` as in `Sizes`; `depth` hidden layers on so many `patches`, None for none.
    """

    num_weights: int
    num_drawn: int
    num_units: int
    depth: int
    patches: int | None = None


def num_weights(sizes: Sequence[int], biases: bool) -> int:
    """Weights of a fully connected network with these layers, N_0 … N_L and the outputs.

    >>> num_weights((3, 20, 1), True)
    101
    """
    weights = sum(before * after for before, after in zip(sizes, sizes[1:], strict=False))
    return weights + (sum(sizes[1:]) if biases else 0)
