"""The stripe model and the measurements on it: errors, exponents, weights, kernel components."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import langevin_nn as lnn
from experiments.common import Call

STRIPE = (-0.3, 1.18549)
"""The edges of the stripe, between which half of all Gaussian numbers lie."""
NO_BIASES = (1e12, 1e12)
"""The prior precisions of biases that are there, and zero at the start."""
FITTED_LOSS = 5e-5
"""The loss ½(1 − 0.99)² of an example with a margin of 0.99."""


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements.

    `tasks` are independent training sets of each size; on each, two networks are trained.
    """

    dimensions: tuple[int, ...]
    trained_dimensions: tuple[int, ...]
    tasks: int
    num_test: int
    width: int
    lazy: tuple[int, ...]
    trained: tuple[int, ...]
    compared: int
    amplified: tuple[int, ...]
    amplified_tasks: int
    amplified_scales: tuple[float, ...] = (1e-3, 1e-6)
    scale: float = 0.1
    pictured: int = 5


SIZES = {
    "smoke": Sizes((2,), (2,), 2, 200, 16, (16, 32), (16, 32), 16, (16, 32), 2, pictured=2),
    "config": Sizes((2, 5, 10), (5, 10), 3, 5000, 128, (64, 128, 256, 512, 1024, 2048),
                    (128, 256, 512), 256, (128, 512, 2048), 8),
    "full": Sizes((2, 5, 10), (2, 5, 10), 8, 20_000, 1000, (128, 256, 512, 1024, 2048, 4096),
                  (128, 256, 512, 1024, 2048, 4096), 1024, (32, 128, 512, 2048, 8192), 16),
}  # fmt: skip


def stripe(num_train: int, dimension: int, task: int, num_test: int) -> lnn.Dataset:
    """The task of x ~ N(0, 1) and y = +1 between two planes, with both labels equally likely."""
    rng = np.random.default_rng([num_train, dimension, task])
    x = rng.standard_normal((num_train + num_test, dimension))
    y = np.where((STRIPE[0] < x[:, 0]) & (x[:, 0] < STRIPE[1]), 1.0, -1.0)
    return lnn.Dataset("stripe", x[:num_train], y[:num_train], x[num_train:], y[num_train:])


def posterior_of(data: lnn.Dataset, width: int, dtype: type) -> lnn.GibbsPosterior:
    network = lnn.FullyConnected(
        data.in_size, (width,), "swish10", key=jax.random.key(0), dtype=dtype, biases=True
    )
    prior = lnn.GaussianPrior((1.0, 1.0), NO_BIASES)
    return lnn.GibbsPosterior(network, prior, data, 1.0, lnn.Hinge())


def spec_of(dimension: int, activation: str) -> lnn.EnsembleSpec:
    return lnn.EnsembleSpec(
        dimension, (1,), lnn.activation(activation), (1.0, 1.0), 1.0, loss="hinge",
        bias_precisions=NO_BIASES,
    )  # fmt: skip


def error_of(prediction: lnn.Generalisation) -> float:
    return 1 - prediction.test_accuracy.value


def lazy(call: Call, sizes: Sizes) -> xr.Dataset:
    """The errors of support vectors with the exact tangent kernel, and of the flow at one P."""
    errors = np.empty((len(sizes.dimensions), len(sizes.lazy), sizes.tasks))
    compared = np.full((3, len(sizes.dimensions), sizes.tasks), np.nan)
    apart = np.empty((len(sizes.dimensions), sizes.tasks))
    for row, dimension in enumerate(sizes.dimensions):
        spec, smooth = spec_of(dimension, "relu"), spec_of(dimension, "swish10")
        for task in range(sizes.tasks):
            for column, num_train in enumerate(sizes.lazy):
                data = stripe(num_train, dimension, task, sizes.num_test)
                errors[row, column, task] = error_of(
                    lnn.theory.support_vectors(lnn.Ensemble(spec, data))
                )
            data = stripe(sizes.compared, dimension, task, sizes.num_test)
            ensemble = lnn.Ensemble(spec, data)
            svm = lnn.theory.support_vectors(ensemble)
            flow = lnn.theory.kernel_flow(ensemble, lnn.Hinge())
            compared[:2, row, task] = error_of(svm), error_of(flow)
            apart[row, task] = np.linalg.norm(
                flow.predictive_mean - svm.predictive_mean
            ) / np.linalg.norm(svm.predictive_mean)
            if dimension == sizes.pictured:  # by quadrature: some seconds each
                data = stripe(sizes.compared, dimension, task, sizes.num_test // 5)
                compared[2, row, task] = error_of(
                    lnn.theory.support_vectors(lnn.Ensemble(smooth, data))
                )
        call.say(f"lazy, d = {dimension}: {errors[row].mean(axis=1).round(4)}")
    return xr.Dataset(
        {"error": (("d", "P", "task"), errors), "apart": (("d", "task"), apart),
         "compared_error": (("machine", "d", "task"), compared)},
        coords={"d": list(sizes.dimensions), "P": list(sizes.lazy),
                "machine": ["SVM", "kernel flow", "SVM, swish10"]},
        attrs={"compared": sizes.compared},
    )  # fmt: skip


def amplification(weights: np.ndarray) -> np.ndarray:
    """The amplification Λ = √(⟨w_∥²⟩/⟨w_⊥²⟩) of first layers (…, units, d)."""
    along, across = (
        np.square(weights[..., direction]).mean(axis=(-2, -1)) for direction in DIRECTIONS
    )
    return np.sqrt(along / across)


DIRECTIONS = (slice(None, 1), slice(1, None))


def first_layers(posterior: lnn.GibbsPosterior, params: object) -> np.ndarray:
    """The weights of the first layers (networks, units, d), in the inputs' own coordinates."""
    keys = jax.random.split(jax.random.key(1), 2)
    return np.asarray(posterior.lifted_networks(params, keys).weights[0], np.float64)


def trained(call: Call, sizes: Sizes) -> xr.Dataset:
    """The errors of gradient flow in the feature regime, and kernel components before and after."""
    shape = len(sizes.trained_dimensions), len(sizes.trained), sizes.tasks
    errors, ends = np.empty(shape), np.empty(shape)
    num_components = min(20, sizes.trained[-1])
    overlaps = np.empty((2, shape[0], sizes.tasks, num_components))
    for row, dimension in enumerate(sizes.trained_dimensions):
        for column, num_train in enumerate(sizes.trained):
            for task in range(sizes.tasks):
                data = stripe(num_train, dimension, task, sizes.num_test)
                posterior = posterior_of(data, sizes.width, jnp.float32)
                # float32, for half the time: margins are asked for to a hundredth.
                flow = lnn.gradient_flow(
                    posterior, key=jax.random.key(task), num_initialisations=2,
                    output_scale=sizes.scale / np.sqrt(sizes.width), loss_tolerance=FITTED_LOSS,
                    gradient_tolerance=1e-9, rtol=1e-3, atol=1e-4,
                )  # fmt: skip
                errors[row, column, task] = np.mean(np.sign(flow.test_outputs) != data.y_test)
                ends[row, column, task] = amplification(first_layers(posterior, flow.params)).mean()
                if not flow.converged:
                    call.say(f"not fitted: d = {dimension}, P = {num_train}: {flow.message}")
                if num_train == sizes.trained[-1]:
                    for place, params in enumerate((flow.initial_params, flow.params)):
                        kernels = lnn.tangent_kernel(posterior, params)
                        alignment = lnn.kernel_alignment(
                            kernels, data.y_train, num_components
                        ).overlaps
                        overlaps[place, row, task] = alignment.mean(axis=0)
            call.say(f"trained, d = {dimension}, P = {num_train}: "
                     f"{errors[row, column].mean():.4f}, {flow.num_steps} steps")  # fmt: skip
    return xr.Dataset(
        {"error": (("d", "P", "task"), errors), "amplification": (("d", "P", "task"), ends),
         "overlap": (("when", "d", "task", "component"), overlaps)},
        coords={"d": list(sizes.trained_dimensions), "P": list(sizes.trained),
                "when": ["before", "after"], "component": list(range(1, num_components + 1))},
        attrs={"scale": sizes.scale, "width": sizes.width},
    )  # fmt: skip


def amplified(call: Call, sizes: Sizes) -> xr.Dataset:
    """The Λ when a tenth of the examples reach the margin, and the weights of one network then."""
    scales, numbers = sizes.amplified_scales, sizes.amplified
    amplifications = np.empty(
        (len(scales), len(sizes.dimensions), len(numbers), sizes.amplified_tasks)
    )
    picture = np.empty((2, 2, sizes.width))
    for column, dimension in enumerate(sizes.dimensions):
        for place, num_train in enumerate(numbers):
            for task in range(sizes.amplified_tasks):
                data = stripe(num_train, dimension, task, 10)
                posterior = posterior_of(data, sizes.width, jnp.float64)
                for row, scale in enumerate(scales):
                    flow = lnn.gradient_flow(
                        posterior, key=jax.random.key(task), num_initialisations=2,
                        output_scale=scale / np.sqrt(sizes.width), fitted_fraction=0.1,
                        gradient_tolerance=1e-9, rtol=1e-4, atol=1e-5,
                    )  # fmt: skip
                    if not flow.converged:
                        call.say(f"not fitted: d = {dimension}, P = {num_train}: {flow.message}")
                    after = first_layers(posterior, flow.params)
                    amplifications[row, column, place, task] = amplification(after).mean()
                    if dimension == sizes.pictured:
                        before = first_layers(posterior, flow.initial_params)
                        picture = np.stack([before[0, :, :2].T, after[0, :, :2].T])
        call.say(
            f"amplification, d = {dimension}: {amplifications[:, column].mean(axis=-1).round(2)}"
        )
    return xr.Dataset(
        {"amplification": (("scale", "d", "P", "task"), amplifications),
         "weights": (("when", "direction", "unit"), picture)},
        coords={"scale": list(scales), "d": list(sizes.dimensions), "P": list(numbers),
                "when": ["before", "after"], "direction": ["along", "across"]},
        attrs={"pictured": sizes.pictured},
    )  # fmt: skip
