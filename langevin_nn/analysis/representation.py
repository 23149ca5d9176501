"""The network's representation in draws: what is recorded of each, and its averages."""

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from langevin_nn.analysis.diagnostics import mcse
from langevin_nn.config.representations import REPRESENTATIONS, checked_representations
from langevin_nn.model.networks.base import require_hidden_features
from langevin_nn.model.posterior import Posterior
from langevin_nn.model.representation import KernelMeasure, OrderParameter, Recorded
from langevin_nn.representations import MEASURES, SERIES, KernelNumbers, Representation
from langevin_nn.sampling.draws import Chains
from langevin_nn.theory.kernels.bases import layer_bases
from langevin_nn.types import Estimate, InputError
from langevin_nn.values import require_kind, shown

__all__ = ["representation", "summarise_representation"]


def representation(
    posterior: Posterior, names: Iterable[str] = tuple(REPRESENTATIONS)
) -> dict[str, Recorded]:
    """The observables of the network's representation, for `sample(observables=…)`.

    "kernel" are series (chain, draw, L) of the kernels Φ_ℓ = σ(hˡ)σ(hˡ)ᵀ/(N_ℓ λ_ℓ), (P, P), of the
    L hidden layers at the training inputs: `kernel_alignment` with the labels Y, Tr YᵀΦY/(‖YYᵀ‖_F
    ‖Φ‖_F); `kernel_along_labels` Tr YᵀΦY/Tr YᵀY; `kernel_participation_ratio` (Tr Φ)²/Tr Φ²;
    `kernel_trace` Tr Φ/P; and `kernel_spectrum` e_kᵀΦe_k, with P numbers more, along the
    eigenvectors e_k of the layer's kernel at infinite width. "order_parameter" is Q = λ_L |v|²/N_L
    of the read-out v, or with D outputs λ_L v vᵀ/N_L (D, D); v is drawn from its posterior where it
    is marginalised. `summarise_representation` averages them.

    Args:
        posterior: of a `FullyConnected` network with hidden layers.
        names: some of "kernel" and "order_parameter".

    Raises:
        InputError: another network, another name; float64 switched off.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.MarginalisedPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> chains = lnn.sample(
    ...     posterior, lnn.Split(), key=key, num_warmup=20, num_samples=10,
    ...     observables=lnn.representation(posterior, ["kernel"]),
    ... )
    >>> chains.observables["kernel_spectrum"].shape
    (8, 10, 1, 20)
    """
    require_kind("posterior", posterior, Posterior, "GibbsPosterior(…)")
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InputError(f'names are a list, got {shown(names)}: write ["kernel"]')
    chosen = checked_representations("observables", names)
    require_hidden_features(posterior.network)
    dtype = posterior.dtype

    def of_kernel() -> dict[str, Recorded]:
        ensemble = posterior.ensemble
        labels, bases = _columns(ensemble.data.y_train), layer_bases(ensemble)
        arrays: dict[str, list[np.ndarray]] = {
            "labels": [labels] * len(bases),
            "basis": [basis.vectors for basis in bases],
            "": [],
        }
        return {
            f"kernel_{name}": KernelMeasure(
                jnp.asarray(ensemble.data.x_train, dtype),
                jnp.asarray(ensemble.spec.prior_precisions[1:], dtype),
                tuple(jnp.asarray(array, dtype) for array in arrays[measure.needs]),
                measure,
            )
            for name, measure in MEASURES.items()
        }

    def of_readout() -> dict[str, Recorded]:
        precision = jnp.asarray(posterior.spec.prior_precisions[-1], dtype)
        return {"order_parameter": OrderParameter(precision)}

    made = {"kernel": of_kernel, "order_parameter": of_readout}
    return {key: function for name in chosen for key, function in made[name]().items()}


def summarise_representation(chains: Chains) -> Representation | None:
    """The averages of what `representation` has recorded, with their Monte-Carlo errors.

    Chains that have diverged are in no average, and errors are those of `mcse`. None where nothing
    of it was recorded.

    >>> data = lnn.load_dataset("digits", num_train=20, num_test=10, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (30,), activation="erf", key=key)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> chains = lnn.sample(
    ...     posterior, lnn.Split(), key=key, num_warmup=20, num_samples=50,
    ...     observables=lnn.representation(posterior, ["order_parameter"]),
    ... )
    >>> ((q,),) = lnn.summarise_representation(chains).order_parameter
    >>> q.mcse < 0.1 < q.value
    True
    """
    require_kind("chains", chains, Chains, "sample(posterior, …)")
    averages = {
        name: _averages(values[~chains.diverged])
        for name, values in chains.observables.items()
        if name in SERIES
    }
    if not averages:
        return None
    kernel: tuple[KernelNumbers, ...] = ()
    of_layers = [averages[f"kernel_{name}"] for name in MEASURES if f"kernel_{name}" in averages]
    if len(of_layers) == len(MEASURES):
        kernel = tuple(
            KernelNumbers(**dict(zip(MEASURES, numbers, strict=True)))
            for numbers in zip(*of_layers, strict=True)
        )
    matrix = averages.get("order_parameter", ())
    if isinstance(matrix, Estimate):
        matrix = ((matrix,),)
    return Representation(kernel=kernel, order_parameter=matrix)


def _columns(y: Float[np.ndarray, " P *D"]) -> Float[np.ndarray, "P D"]:
    return y[:, None] if y.ndim == 1 else y


def _averages(series: Float[np.ndarray, "chain draw *rest"]) -> Any:
    """The means over chains and draws with their errors, as nested tuples of estimates."""
    shape, draws = series.shape[2:], series.astype(np.float64)
    flat = draws.reshape(*series.shape[:2], -1)
    pairs = zip(flat.mean(axis=(0, 1)), mcse(flat), strict=True)
    numbers = [Estimate(float(value), float(error)) for value, error in pairs]
    return _nested(numbers, shape)


def _nested(numbers: list[Estimate], shape: tuple[int, ...]) -> Any:
    if not shape:
        return numbers[0]
    size = len(numbers) // shape[0]
    return tuple(_nested(numbers[i * size : (i + 1) * size], shape[1:]) for i in range(shape[0]))
