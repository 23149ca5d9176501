"""The tangent kernel and the Hessian: finite differences, exact identities, large widths."""

from dataclasses import replace

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task

import langevin_nn as lnn
from langevin_nn.analysis.landscape import gradients as landscape
from langevin_nn.analysis.landscape.gradients import (
    effective_parameters,
    hessian,
    kernel_alignment,
    relative_change,
    tangent_kernel,
)
from langevin_nn.analysis.landscape.spectra import spectral_density
from langevin_nn.errors import InputError

KEY = jax.random.key(2)
TASK = gaussian_task(7, 3, 4)
LABELLED = replace(TASK, y_train=np.sign(TASK.y_train))
LOSSES = [lnn.Squared(), lnn.Hinge(), lnn.Logistic()]


def posterior_of(data=LABELLED, widths=(5,), loss=None, activation="tanh"):
    return cases.posterior_of(data, widths, activation, temperature=1.0, loss=loss, key=KEY)


def moved(params, index, step):
    """Two networks, at ±step along one weight of the flattened layers."""
    leaves, structure = jax.tree.flatten(params)
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
    ends = []
    for sign in (1, -1):
        row = flat.copy()
        row[index] += sign * step
        parts = np.split(row, np.cumsum([leaf.size for leaf in leaves])[:-1])
        ends.append([part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)])
    return [jax.tree.unflatten(structure, [jnp.asarray(x) for x in end]) for end in ends]


@pytest.mark.slow
@pytest.mark.parametrize("widths", [(5,), (4, 3)])
def test_tangent_kernel_is_that_of_finite_differences(widths):
    posterior = posterior_of(widths=widths)
    params = posterior.sample_prior(KEY, 1)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    rows = []
    for index in range(size):
        up, down = moved(params, index, 1e-5)
        rows.append((posterior.train_outputs(up) - posterior.train_outputs(down))[0] / 2e-5)
    jacobian = np.array(rows)
    found = tangent_kernel(posterior, params)[0]
    np.testing.assert_allclose(found, jacobian.T @ jacobian, rtol=1e-7, atol=1e-9)
    three = tangent_kernel(posterior, posterior.sample_prior(KEY, 3))
    assert three.shape == (3, 7, 7) and np.all(np.linalg.eigvalsh(three) > -1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_hessian_is_that_of_finite_differences(loss):
    """H from differences of the gradient; H_0 from those of f and the second derivative of ℓ."""
    posterior = posterior_of(loss=loss)
    params = posterior.sample_prior(KEY, 1)
    gradient = jax.grad(lambda p: jnp.sum(posterior.data_energy(p)))
    found = hessian(posterior, params)
    jacobian, columns = [], []
    for index in range(len(found.whole)):
        up, down = moved(params, index, 1e-5)
        slopes = [
            np.concatenate([np.ravel(x) for x in jax.tree.leaves(gradient(p))]) for p in (up, down)
        ]
        columns.append((slopes[0] - slopes[1]) / 2e-5)
        jacobian.append((posterior.train_outputs(up) - posterior.train_outputs(down))[0] / 2e-5)
    np.testing.assert_allclose(found.whole, np.array(columns), rtol=1e-6, atol=1e-7)
    f, y = np.asarray(posterior.train_outputs(params)[0]), LABELLED.y_train
    second = {
        "squared": np.ones(7),
        "hinge": (y * f < 1).astype(float),
        "logistic": 1 / (2 + 2 * np.cosh(y * f)),
    }[loss.name]
    jacobian = np.array(jacobian)
    expected = (jacobian * second) @ jacobian.T
    np.testing.assert_allclose(found.of_gradients, expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found.of_curvature, found.whole - expected, atol=1e-6)
    assert found.unsatisfied == (7 if loss.name != "hinge" else int(np.sum(y * f < 1)))


@pytest.mark.slow
def test_rank_of_the_gradients_part_is_the_number_of_unsatisfied_examples():
    """At every moment of a flow with the hinge loss, until it exceeds the number of weights."""
    ranks = []
    for time in (0.01, 0.5, 3.0):
        posterior = posterior_of(loss=lnn.Hinge())
        flow = lnn.gradient_flow(posterior, key=KEY, num_initialisations=1, max_time=time)
        found = hessian(posterior, flow.params)
        assert found.rank() == found.unsatisfied == flow.unsatisfied[0]
        ranks.append(found.rank())
    assert ranks[-1] < ranks[0]
    small = posterior_of(gaussian_labels(40), widths=(2,), loss=lnn.Hinge(2, 50.0))
    found = hessian(small, small.sample_prior(KEY, 1))
    assert found.unsatisfied == 40 and found.rank() == len(found.whole) == 10


def gaussian_labels(num_train):
    data = gaussian_task(num_train, 3, 4)
    return replace(data, y_train=np.sign(data.y_train))


def test_curvature_of_relu_has_no_trace_of_one_sign():
    """H_p of one hidden layer of relu units couples layers alone: its spectrum is symmetric."""
    posterior = posterior_of(loss=lnn.Hinge(), activation="relu")
    found = hessian(posterior, posterior.sample_prior(KEY, 1))
    values = np.linalg.eigvalsh(found.of_curvature)
    np.testing.assert_allclose(values, -values[::-1], atol=1e-9)
    assert values[-1] > 0.1


@pytest.mark.slow
def test_tangent_kernel_at_large_width():
    """Its mean is the NTK, its relative deviation falls as N_1^(−1/2)."""
    spreads = []
    for width in (64, 1024):
        posterior = posterior_of(widths=(width,), activation="erf")
        found = tangent_kernel(posterior, posterior.sample_prior(KEY, 400))
        expected = lnn.theory.ntk(posterior.spec, LABELLED.x_train)
        error = found.std(axis=0) / 20
        assert np.max(np.abs(found.mean(axis=0) - expected) / error) < 5
        spreads.append(
            np.linalg.norm(found - expected, axis=(1, 2)).mean() / np.linalg.norm(expected)
        )
    slope = np.log(spreads[1] / spreads[0]) / np.log(16)
    assert abs(slope + 0.5) < 0.08, slope
    change = relative_change(found, np.broadcast_to(expected, found.shape))
    np.testing.assert_allclose(change.mean(), spreads[1])


def test_alignment_is_the_part_of_the_labels_in_each_component():
    """A kernel made of known components; the labels a known mixture."""
    rng = np.random.default_rng(3)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    values = np.array([9.0, 5.0, 2.0, 1.0, 0.5, 0.1])
    mixture = np.array([1.0, -3.0, 0.0, 2.0, 0.0, 0.5])
    kernels = np.stack([basis * values @ basis.T, np.eye(6) * values])
    found = kernel_alignment(kernels, 2 * basis @ mixture, 6)
    np.testing.assert_allclose(found.eigenvalues, np.stack([values, values]) / 6)
    np.testing.assert_allclose(found.overlaps[0], mixture**2 / np.sum(mixture**2), atol=1e-12)
    np.testing.assert_allclose(found.overlaps.sum(axis=1), 1)
    few = kernel_alignment(kernels, 2 * basis @ mixture, 2)
    np.testing.assert_allclose(few.overlaps, found.overlaps[:, :2])


@pytest.mark.slow_except(
    "tanh-widths0-0", "relu-widths1-5", "swish10-widths3-0", "identity-widths4-21"
)
@pytest.mark.parametrize(
    ("activation", "widths", "lost"),
    [
        ("tanh", (5,), 0),
        ("relu", (5,), 5),
        ("relu", (4, 3), 7),
        ("swish10", (4, 3), 0),
        ("identity", (5,), 5 * 4 + 5 - 4),
    ],
)
def test_effective_parameters_leave_symmetries_out(activation, widths, lost):
    """The rescaling of relu units; of a linear network its N_0 numbers remain."""
    posterior = posterior_of(widths=widths, activation=activation)
    params = posterior.sample_prior(KEY, 1)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert effective_parameters(posterior, params) == size - lost


def exact_part(found, part):
    parts = {"whole": found.whole, "gradients": found.of_gradients, "curvature": found.of_curvature}
    return np.linalg.eigvalsh(parts[part])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "loss"),
    [("whole", loss) for loss in LOSSES]
    + [("gradients", lnn.Hinge()), ("curvature", lnn.Logistic())],
    ids=str,
)
def test_spectral_density_is_that_of_the_hessian(part, loss):
    """With as many steps as weights all eigenvalues, with few of them the moments."""
    posterior = posterior_of(loss=loss)
    params = posterior.sample_prior(KEY, 1)
    exact = exact_part(hessian(posterior, params), part)
    few = spectral_density(posterior, params, key=KEY, part=part, num_probes=300, num_steps=3)
    np.testing.assert_allclose(few.weights.sum(axis=1), 1)
    assert few.size == len(exact)
    for order in (1, 2, 5):
        value, error = few.moment(order)
        assert abs(value - np.mean(exact**order)) < 5 * error, order
        assert order != 2 or abs(value - 1.5 * np.mean(exact**order)) > 5 * error
    all_ = spectral_density(posterior, params, key=KEY, part=part, num_probes=2, num_steps=99)
    matter = all_.weights[0] > 1e-9
    nodes = all_.nodes[0][matter]
    present = np.abs(exact) > 1e-9 * np.abs(exact).max()
    distances = np.abs(nodes[:, None] - exact[None, :])
    assert np.max(distances.min(axis=1)) < 1e-7 * np.abs(exact).max()
    assert np.max(distances.min(axis=0)[present]) < 1e-7 * np.abs(exact).max()
    count, error = few.count_above(-1e9)
    assert count == pytest.approx(len(exact)) and error == pytest.approx(0, abs=1e-9)


@pytest.mark.slow
def test_spectral_density_of_a_large_network():
    """H_0 of the squared loss has the tangent kernel's eigenvalues, all the others are zero."""
    posterior = posterior_of(widths=(1500,), loss=lnn.Squared())
    params = posterior.sample_prior(KEY, 1)
    with pytest.raises(InputError, match="of 7500 weights is too large: 5000 at most"):
        hessian(posterior, params)
    found = spectral_density(posterior, params, key=KEY, part="gradients", num_steps=12)
    expected = np.linalg.eigvalsh(tangent_kernel(posterior, params)[0])
    np.testing.assert_allclose(found.nodes.max(axis=1), expected[-1], rtol=1e-9)
    heavy = np.sort(found.nodes[found.weights > 1e-12].ravel())
    assert np.max(np.min(np.abs(heavy[:, None] - [*expected, 0.0]), axis=1)) < 1e-6 * expected[-1]
    count, error = found.count_above(expected[0] / 2)
    assert abs(count - 7) < 5 * error < 7
    whole = spectral_density(posterior, params, key=KEY, num_steps=20)
    assert whole.nodes.min() < 0 < whole.nodes.max()


def test_what_has_no_landscape(monkeypatch):
    several = replace(TASK, y_train=np.ones((7, 2)) * TASK.y_train[:, None], y_test=np.ones((3, 2)))
    posterior = posterior_of(several)
    with pytest.raises(InputError, match="one output, this one has 2"):
        tangent_kernel(posterior, posterior.sample_prior(KEY, 1))
    posterior = posterior_of()
    with pytest.raises(InputError, match="all weights, got a MarginalisedPosterior: write Gibbs"):
        tangent_kernel(lnn.MarginalisedPosterior.of(posterior), posterior.sample_prior(KEY, 1))
    with pytest.raises(InputError, match="of one network, got 2"):
        hessian(posterior, posterior.sample_prior(KEY, 2))
    with pytest.raises(InputError, match="unknown part 'all'.*whole, gradients, curvature"):
        spectral_density(posterior, posterior.sample_prior(KEY, 1), key=KEY, part="all")
    with pytest.raises(InputError, match="of one network, got 2"):
        spectral_density(posterior, posterior.sample_prior(KEY, 2), key=KEY)
    with pytest.raises(InputError, match="num_probes must be a positive whole number, got 0"):
        spectral_density(posterior, posterior.sample_prior(KEY, 1), key=KEY, num_probes=0)
    with pytest.raises(InputError, match=r"got \(1, 3, 3\) and \(4,\)"):
        kernel_alignment(np.eye(3)[None], np.ones(4))
    with pytest.raises(InputError, match="from 1 to P = 3, got 4"):
        kernel_alignment(np.eye(3)[None], np.ones(3), 4)
    with pytest.raises(InputError, match="all labels are zero"):
        kernel_alignment(np.eye(3)[None], np.zeros(3), 1)
    monkeypatch.setattr(landscape, "LARGEST_HESSIAN", 20)
    with pytest.raises(InputError, match="of 25 weights is too large: 20 at most"):
        hessian(posterior, posterior.sample_prior(KEY, 1))
