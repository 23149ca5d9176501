"""Sampling: many chains of one dynamics, for one posterior or for several side by side."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import SupportsIndex

import equinox as eqx
import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from langevin_nn import footprint
from langevin_nn.model.control_variates import NUM_CONTROLS
from langevin_nn.model.marginalised import MarginalisedPosterior
from langevin_nn.model.networks.base import Network
from langevin_nn.model.posterior import Posterior
from langevin_nn.progress import Report, RunProgress, shown_progress
from langevin_nn.sampling.base import Dynamics
from langevin_nn.sampling.checks import (
    checked_files,
    checked_posterior,
    checked_posteriors,
    checked_saving,
)
from langevin_nn.sampling.counts import Counts
from langevin_nn.sampling.draws import Chains
from langevin_nn.sampling.engine.checkpoint import writing
from langevin_nn.sampling.engine.driver import drive
from langevin_nn.sampling.engine.kept_weights import KeptWeights, kept, number_of_weights
from langevin_nn.sampling.engine.program import Observable, Observables
from langevin_nn.sampling.stopping import Until


def sample(
    posterior: Posterior,
    dynamics: Dynamics,
    *,
    key: PRNGKeyArray,
    num_chains: SupportsIndex = 8,
    num_warmup: SupportsIndex | str | None = None,
    num_samples: SupportsIndex | None = None,
    thinning: SupportsIndex | None = None,
    observables: Mapping[str, Observable] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | bool | None = None,
    until: Until | None = None,
    keep_weights: Path | str | None = None,
) -> Chains:
    """Run `num_chains` chains from draws of the prior and record every `thinning`-th state.

    `num_warmup` steps come before the first recorded draw; a step of `Split` is a trajectory. Left
    out, `num_warmup` and `thinning` are the dynamics' own defaults, and `num_samples` is 1,000. A
    `num_warmup` of "auto", the default of `Split`, ends the warm-up when nothing drifts any more,
    after `Usage.warmup` steps at the latest; `until`, a `TargetError`, ends the draws, in place of
    `num_samples`. An observable is a function of one network (as given to the posterior: on inputs
    (N_0,)) that returns an array: the network whose f the same draw has at the training and the
    test inputs, with its read-out drawn where that is marginalised; `representation` makes those of
    the layers' kernels. With a `checkpoint` folder the run is saved after each chunk of about two
    seconds; `resume` goes on from what is there, bit for bit as if it had never stopped, also where
    what is there has ended and `num_samples` or `until` ask for more. After each chunk `progress`,
    a function, gets a `Report`; left out, a terminal or a notebook has a bar (True: a log has
    lines, too; False: nothing).

    `keep_weights` names a file for all weights of each draw, those of the networks that observables
    see: NumPy's file of an array (chain, draw, weight), which is written draw by draw and is there
    at the end; `numpy.load(PATH, mmap_mode="r")` opens it. A row has the network's sampled arrays
    one after the other, as `jax.flatten_util.ravel_pytree` has them. The draws stay the same to the
    last bit.

    Raises `Diverged` for a step size above the stability limit, `InputError` for counts that are
    not positive, for a checkpoint that cannot be used and for what does not fit the memory or the
    disk; what fits just so is warned of (`footprint.TightMemory`).
    """
    return sample_points(
        [checked_posterior(posterior)], dynamics, keys=[key], num_chains=num_chains,
        num_warmup=num_warmup, num_samples=num_samples, thinning=thinning,
        observables=observables, checkpoint=checkpoint, resume=resume, progress=progress,
        until=until,
        keep_weights=None if keep_weights is None else [keep_weights],
    )[0]  # fmt: skip


def sample_points(
    posteriors: Sequence[Posterior],
    dynamics: Dynamics,
    *,
    keys: Iterable[PRNGKeyArray],
    num_chains: SupportsIndex = 8,
    num_warmup: SupportsIndex | str | None = None,
    num_samples: SupportsIndex | None = None,
    thinning: SupportsIndex | None = None,
    observables: Observables = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Callable[[Report], None] | bool | None = None,
    until: Until | None = None,
    keep_weights: Sequence[Path | str | None] | None = None,
) -> list[Chains]:
    """Draws of several posteriors of the same shapes, in one program that is compiled once.

    Arguments as for `sample`. The posteriors may differ in precisions, temperature and data (of
    another seed, say). Each has its own key of `keys` and adapts its own numbers; a number that the
    dynamics leaves open is adapted for all. A point gets the draws that it would get alone, up to
    rounding. A warm-up that ends by itself, and `until`, end at all points together, where they
    would at the last. `observables` may be one mapping for each posterior, of the same names, as
    `representation` makes them. `wall_seconds` is the time of all points together. `keep_weights`
    are as many files as posteriors, None for one whose weights are not kept.

    Raises as `sample` does, and `InputError` for posteriors of different shapes. A point all whose
    chains diverge is marked in its `diverged` if another is left; if none is, `Diverged` is raised.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> priors = [lnn.GaussianPrior((1.0, precision)) for precision in (0.1, 1.0, 10.0)]
    >>> points = [lnn.MarginalisedPosterior(network, prior, data, 0.1) for prior in priors]
    >>> keys = jax.random.split(key, 3)
    >>> sampled = lnn.sample_points(points, lnn.Split(), keys=keys, num_warmup=20, num_samples=5)
    >>> [chains.test_outputs.shape for chains in sampled]
    [(8, 5, 10), (8, 5, 10), (8, 5, 10)]
    """
    counts = Counts.of(dynamics, num_chains, num_warmup, num_samples, thinning, until)
    checkpoint = checked_saving(checkpoint, resume)
    posteriors = checked_posteriors(posteriors)
    paths = checked_files(keep_weights, len(posteriors))
    keeping = None
    if any(paths):
        keeping = KeptWeights.of(paths, posteriors[0], counts.num_chains, counts.num_samples)
    require_room(posteriors, dynamics, counts, keeping)
    with (
        writing(checkpoint),
        kept(keeping, checkpoint),
        shown_progress(progress, RunProgress) as tell,
    ):
        driven = drive(
            posteriors, dynamics, keys, counts, observables=observables, checkpoint=checkpoint,
            resume=resume, progress=tell, until=until, keeping=keeping,
        )  # fmt: skip
    return [driven.chains(i) for i in range(len(driven.posteriors))]


def require_room(
    posteriors: Sequence[Posterior],
    dynamics: Dynamics,
    counts: Counts,
    keeping: KeptWeights | None = None,
) -> None:
    """Raise `InputError` if the chains of these posteriors exceed the memory; warn if almost.

    Chains live on the accelerators, where there are some, and their draws on the host. The weights
    that are kept must fit the disk.
    """
    if not posteriors:
        return
    if keeping:
        keeping.require_disk()
    total_chains, first = len(posteriors) * counts.num_chains, posteriors[0]
    arrays = jax.tree.leaves(eqx.filter(first.network, eqx.is_inexact_array))
    bytes_by_part = footprint.of_sampling(
        footprint.Sizes(
            sum(leaf.size for leaf in arrays),
            first.network.num_units if isinstance(first.network, Network) else 0,
            first.num_train, len(first.x_test), int(np.prod(first.y_train.shape[1:])), total_chains,
            counts.num_samples, first.y_train.dtype.itemsize,
            isinstance(first, MarginalisedPosterior), dynamics.copies,
            counts.num_chains, num_kept=number_of_weights(first) if keeping else 0,
            num_controls=0 if getattr(first, "reference", None) is None else NUM_CONTROLS,
        )
    )  # fmt: skip
    remedy = "write fewer units, examples, chains or draws, or fewer posteriors side by side"
    device_stats = [
        device.memory_stats() for device in jax.local_devices() if device.platform != "cpu"
    ]
    if device_stats and all(stats and "bytes_limit" in stats for stats in device_stats):
        bytes_left = sum(
            stats["bytes_limit"] - stats["bytes_in_use"] for stats in device_stats if stats
        )
        on_device = {k: v for k, v in bytes_by_part.items() if k != "draws"}
        footprint.require_and_warn(on_device, remedy, bytes_left)
        bytes_by_part = {"draws": bytes_by_part["draws"]}
    footprint.require_and_warn(bytes_by_part, remedy)
