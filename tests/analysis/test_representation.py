"""The representation in draws and in theories: kernels of the layers, their measures, and Q.

Each number is held against something that does not know it: NumPy on the weights that a run has
kept, the prior's closed form, and importance sampling over the hidden weights of the prior.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import SEED, ensemble_of, gaussian_task, posterior_of, some_params
from oracles import NUMPY_ACTIVATIONS, representation_by_importance
from refusals import refuses
from statistics_in_sigmas import SIGMAS, worst, z_scores

import langevin_nn as lnn
from langevin_nn.representations import MEASURES, SERIES
from langevin_nn.sampling.engine.program import record
from langevin_nn.theory import THEORIES
from langevin_nn.theory.kernels.bases import layer_bases
from langevin_nn.theory.representation import numbers_of

KEY = jax.random.key(5)
DATA = gaussian_task(num_train=4, num_test=3, in_size=6, seed=SEED)
LARGE = dataclasses.replace(DATA, y_train=2.5 * DATA.y_train)
"""The task with labels that the units turn towards: Q = 1.6 to 3 for 20 to 10 units."""
TWO = gaussian_task(num_train=4, num_test=3, in_size=6, seed=SEED, num_outputs=2)
COUNTS = {"key": KEY, "num_chains": 2, "num_warmup": 3, "num_samples": 5, "progress": False}
KINDS = {"sampled": lnn.GibbsPosterior, "marginalised": lnn.MarginalisedPosterior}


def plain_kernels(arrays, data, activation, precisions):
    """Φ_1 … Φ_L by the formula, for weights W⁰ … W^(L−1) and as many biases, or none."""
    weights, biases = arrays
    phi, kernels = data.x_train, []
    for layer, w in enumerate(weights):
        h = phi @ w.T / np.sqrt(w.shape[1]) + (biases[layer] if biases else 0.0)
        phi = NUMPY_ACTIVATIONS[activation](h)
        kernels.append(phi @ phi.T / (phi.shape[1] * precisions[layer + 1]))
    return kernels


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "data", "biases"),
    [("sampled", TWO, True), ("marginalised", DATA, False), ("marginalised", TWO, True)],
)
def test_what_is_recorded_is_numpys_of_the_kept_weights(tmp_path, kind, data, biases):
    posterior = posterior_of(
        data,
        (5, 3),
        key=KEY,
        kind=KINDS[kind],
        precisions=(1.0, 0.5, 2.0),
        bias_precisions=(1.5, 2.0, 2.5) if biases else None,
    )
    chains = lnn.sample(
        posterior, lnn.Langevin(), **COUNTS, keep_weights=tmp_path / "w.npy",
        observables=lnn.representation(posterior),
    )  # fmt: skip
    assert set(chains.observables) == set(SERIES)
    y = data.y_train.reshape(4, -1)
    num = y.shape[1]
    shapes = [(5, 6), (3, 5), (num, 3)]
    shapes += [(5,), (3,), (num,)] if biases else []
    vectors = [np.linalg.eigh(basis.gram)[1][:, ::-1] for basis in layer_bases(posterior.ensemble)]
    kept = np.load(tmp_path / "w.npy")
    for chain, draw in np.ndindex(kept.shape[:2]):
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        parts = np.split(kept[chain, draw], ends[:-1])
        arrays = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        kernels = plain_kernels((arrays[:2], arrays[3:5]), data, "erf", (1.0, 0.5, 2.0))
        expected = {
            "kernel_alignment": [
                np.trace(y.T @ k @ y) / (np.linalg.norm(y @ y.T) * np.linalg.norm(k))
                for k in kernels
            ],
            "kernel_along_labels": [np.trace(y.T @ k @ y) / np.sum(y**2) for k in kernels],
            "kernel_participation_ratio": [
                np.trace(k) ** 2 / np.sum(np.linalg.eigvalsh(k) ** 2) for k in kernels
            ],
            "kernel_trace": [np.mean(np.diag(k)) for k in kernels],
            "kernel_spectrum": [
                np.diag(e.T @ k @ e) for k, e in zip(kernels, vectors, strict=True)
            ],
            "order_parameter": 2.0 * arrays[2] @ arrays[2].T / 3,
        }
        for name, value in expected.items():
            found = chains.observables[name][chain, draw]
            np.testing.assert_allclose(
                found, np.reshape(value, found.shape), rtol=1e-12, atol=1e-12, err_msg=name
            )


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_the_prior_has_the_kernel_of_infinite_width_at_any_width(activation):
    posterior = posterior_of(
        TWO,
        (3,),
        key=KEY,
        precisions=(1.0, 0.5),
        activation=activation,
        bias_precisions=(1.5, 2.0),
    )
    functions = lnn.representation(posterior)
    params = some_params(posterior, 2000)
    scales = [1.0, 1 / np.sqrt(0.5), 1 / np.sqrt(1.5), 1 / np.sqrt(2.0)]
    leaves, tree = jax.tree.flatten(params)
    params = jax.tree.unflatten(tree, [w * s for w, s in zip(leaves, scales, strict=True)])
    keys = jax.random.split(KEY, 2000)
    series = eqx.filter_jit(record)(posterior, params, keys, functions)
    series = {name: np.asarray(series[name]) for name in SERIES}
    (numbers,) = THEORIES["infinite_width"].solve(posterior.ensemble).kernels().layers
    labels, (basis,) = TWO.y_train, layer_bases(posterior.ensemble)
    np.testing.assert_allclose(numbers, basis.gram, rtol=1e-12)
    along = np.trace(labels.T @ numbers @ labels) / np.sum(labels**2)
    assert worst(z_scores(series["kernel_trace"], np.mean(np.diag(numbers)))) < SIGMAS
    assert worst(z_scores(series["kernel_along_labels"], along)) < SIGMAS
    spectrum = np.linalg.eigvalsh(numbers)[::-1]
    assert worst(z_scores(series["kernel_spectrum"][:, 0], spectrum)) < SIGMAS
    assert worst(z_scores(series["order_parameter"], np.eye(2))) < SIGMAS


def by_importance(data, width, activation, draws=40_000):
    return representation_by_importance(
        data, width, (1.0, 1.0), 0.2, activation=activation, draws=draws, seed=SEED
    )


def kernels_of(theory, data, width, activation):
    ensemble = ensemble_of(data, (width,), activation=activation, temperature=0.2)
    solution = THEORIES[theory].solve(ensemble)
    assert solution.generalisation.converged
    return solution.kernels(), ensemble


def in_errors(exact, kernels):
    """The largest distance of the mean kernel and of Q from the exact ones, in standard errors."""
    (gram,) = kernels.layers
    return max(
        worst((gram - exact["gram"]) / exact["gram_error"]),
        worst((kernels.order - exact["order"]) / exact["order_error"]),
    )


@pytest.mark.parametrize("width", [3, 10])
def test_the_mixture_is_exact_of_linear_units(width):
    """E[Φ | y] = K + (2/N_1) K ∂log p/∂K K, and Q; neither Q K nor K is near."""
    exact = by_importance(LARGE, width, "identity")
    kernels, ensemble = kernels_of("scale_mixture", LARGE, width, "identity")
    assert in_errors(exact, kernels) < SIGMAS
    prior = layer_bases(ensemble)[0].gram
    for other in (prior, kernels.order[0, 0] * prior):
        assert in_errors(exact, kernels._replace(layers=(other,))) > 2 * SIGMAS


@pytest.mark.parametrize("theory", ["one_layer", "multi_output"])
def test_saddle_points_have_nearly_that(theory):
    """To a tenth of what has been learnt, of one output and of two."""
    data = LARGE if theory == "one_layer" else TWO
    exact = by_importance(data, 20, "identity")
    kernels, ensemble = kernels_of(theory, data, 20, "identity")
    learnt = exact["gram"] - layer_bases(ensemble)[0].gram
    off = np.linalg.norm(kernels.layers[0] - exact["gram"])
    assert off < 0.1 * np.linalg.norm(learnt) + SIGMAS * np.linalg.norm(exact["gram_error"])
    changed = np.linalg.norm(exact["order"] - np.eye(data.num_outputs))
    off = np.linalg.norm(kernels.order - exact["order"])
    assert off < 0.1 * changed + SIGMAS * np.linalg.norm(exact["order_error"])


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["erf", "relu", "identity"])
def test_propagation_has_the_kernel_of_its_units(activation):
    """Exact to order 1/N_1: within 5 % of what the units have learnt, and Q within 2 %."""
    exact = by_importance(LARGE, 20, activation, draws=400_000)
    kernels, ensemble = kernels_of("propagation", LARGE, 20, activation)
    learnt = np.linalg.norm(exact["gram"] - layer_bases(ensemble)[0].gram)
    error = SIGMAS * np.linalg.norm(exact["gram_error"])
    assert np.linalg.norm(kernels.layers[0] - exact["gram"]) < 0.05 * learnt + error
    np.testing.assert_allclose(
        kernels.order, exact["order"], rtol=0.02, atol=float(SIGMAS * exact["order_error"].max())
    )
    for coarser in ("cavity", "mean_field"):
        other, _ = kernels_of(coarser, LARGE, 20, activation)
        assert np.linalg.norm(other.layers[0] - exact["gram"]) < 0.2 * learnt + error


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_sampler_has_what_importance_sampling_has(kind):
    exact = by_importance(LARGE, 10, "erf", draws=400_000)
    posterior = posterior_of(
        LARGE, (10,), key=KEY, kind=KINDS[kind], precisions=(1.0, 1.0), temperature=0.2
    )
    chains = lnn.sample(
        posterior, lnn.Split(), key=KEY, num_samples=4000, progress=False,
        observables=lnn.representation(posterior),
    )  # fmt: skip
    assert lnn.summarise(chains).converged
    found = lnn.summarise_representation(chains)
    (numbers,), ((order,),) = found.kernel, found.order_parameter
    (basis,) = layer_bases(posterior.ensemble)
    spectrum = np.diag(basis.vectors.T @ exact["gram"] @ basis.vectors)
    error = np.linalg.norm(exact["gram_error"])
    for estimate, value, its in [
        (numbers.alignment, exact["alignment"], exact["alignment_error"]),
        (numbers.participation_ratio, exact["participation_ratio"],
         exact["participation_ratio_error"]),
        (order, exact["order"][0, 0], exact["order_error"][0, 0]),
        *((mode, value, error) for mode, value in zip(numbers.spectrum, spectrum, strict=True)),
    ]:  # fmt: skip
        assert abs(estimate.value - value) < SIGMAS * np.hypot(estimate.mcse, its)
        assert estimate.mcse < 0.05 * abs(estimate.value)


def test_numbers_of_a_theory_are_those_of_the_mean():
    kernels, ensemble = kernels_of("infinite_width", TWO, 7, "erf")
    found = numbers_of(kernels, ensemble, ["kernel"])
    (numbers,), (gram,) = found.kernel, kernels.layers
    assert found.order_parameter == ()
    np.testing.assert_allclose(
        [mode.value for mode in numbers.spectrum], np.linalg.eigvalsh(gram)[::-1], rtol=1e-10
    )
    assert numbers.participation_ratio.value == pytest.approx(
        np.trace(gram) ** 2 / np.trace(gram @ gram)
    )
    assert set(MEASURES) == {f.name for f in dataclasses.fields(numbers)}


def test_theories_of_more_layers_say_what_they_know():
    ensemble = ensemble_of(DATA, (9, 8), temperature=0.2)
    predictions = lnn.theory.predict(ensemble, observables=["kernel", "order_parameter"])
    said = predictions.representations
    assert set(said) == {"infinite_width", "global"}
    assert len(said["infinite_width"].kernel) == 2 and said["global"].kernel == ()
    ((order,),) = said["global"].order_parameter
    assert order.value == predictions.results["global"].order_parameters[-1]
    assert not lnn.theory.predict(ensemble).representations


@pytest.mark.slow
def test_points_side_by_side_have_their_own_labels_and_bases():
    posteriors = [
        posterior_of(data, (5,), key=KEY, precisions=precisions)
        for data, precisions in ((DATA, (1.0, 1.0)), (LARGE, (1.0, 0.5)))
    ]
    observables = [lnn.representation(posterior) for posterior in posteriors]
    keys = list(jax.random.split(KEY, 2))
    counts = COUNTS | {"num_samples": 4}
    del counts["key"]
    together = lnn.sample_points(
        posteriors, lnn.Langevin(), keys=keys, observables=observables, **counts
    )
    for i in range(2):
        (alone,) = lnn.sample_points(
            posteriors[i : i + 1], lnn.Langevin(), keys=keys[i : i + 1],
            observables=observables[i : i + 1], **counts,
        )  # fmt: skip
        for name, series in alone.observables.items():
            np.testing.assert_allclose(together[i].observables[name], series, rtol=1e-6)


def test_what_cannot_be_recorded_is_refused():
    posterior = posterior_of(DATA, (5,), key=KEY)
    with refuses("kernle", '"kernel"'):
        lnn.representation(posterior, ["kernle"])
    with refuses('["kernel"]'):
        lnn.representation(posterior, "kernel")
    with refuses("hidden layers", "observables"):
        lnn.representation(posterior_of(DATA, (), key=KEY))
    image = dataclasses.replace(gaussian_task(4, 3, 9), image_shape=(3, 3, 1))
    network = lnn.Convolutional(lnn.Patches((3, 3, 1), 2, 1), 3, activation="erf", key=KEY)
    with refuses("Convolutional", "observables"):
        lnn.representation(lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 2.0)), image, 0.3))
    own = {"kernel_trace": lambda network: jnp.sum(network.weights[0])}
    with refuses("kernel_trace", "own_kernel_trace"):
        lnn.sample(posterior, lnn.Langevin(), **COUNTS, observables=own)
    mine = lnn.representation(posterior)
    for given, word in (([mine] * 2, "2"), ([], "0")):
        with refuses(word, "one for each"):
            lnn.sample_points(
                [posterior], lnn.Langevin(), keys=[KEY], progress=False, observables=given
            )
