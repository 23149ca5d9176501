"""The largest log evidence: closed forms, stationarity in NumPy alone, a grid, and refusals."""

import dataclasses

import numpy as np
import pytest
from refusals import refuses

from langevin_nn.data.dataset import Dataset
from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import THEORIES, evidence, maximise_evidence, nngp
from langevin_nn.types import EnsembleSpec, Generalisation, NotApplicable

READOUT, TEMPERATURE = "prior.precisions[-1]", "posterior.temperature"


def task(noise=0.3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((30, 5))
    y = np.sin(1.5 * x[:, 0]) + noise * rng.standard_normal(30)
    return Dataset("sine", x[:24], y[:24], x[24:], y[24:])


def ensemble_of(data, widths=(12,), temperature=0.1, biases=None):
    ones = (1.0,) * (len(widths) + 1)
    spec = EnsembleSpec(
        data.in_size, widths, ACTIVATIONS["erf"], ones, temperature, bias_precisions=biases
    )
    return Ensemble(spec, data)


@pytest.mark.slow_except("fields0-1.0-1.0")
@pytest.mark.exhaustive_except("fields0-1.0-1.0")
@pytest.mark.parametrize(("variance", "temperature"), [(1.0, 1.0), (0.04, 3.0), (50.0, 2.0)])
@pytest.mark.parametrize("fields", [(READOUT, TEMPERATURE), (TEMPERATURE, "prior.precisions")])
def test_linear_regression_with_orthogonal_inputs(variance, temperature, fields):
    """K = diag(k)/λ: log p is largest where T + k_μ/λ = y_μ², by −½ Σ (1 + log 2π y_μ²)."""
    k = np.array([2.0, 1.0])
    y = np.sqrt(temperature + k * variance)
    data = Dataset("two", np.diag(np.sqrt(2 * k)), y, np.eye(2), y)
    for start in (0.0, 0.3):
        ensemble = Ensemble(EnsembleSpec(2, (), None, (0.5,), start), data)
        found = maximise_evidence(ensemble, fields)
        assert (found.theory, found.converged, found.message) == ("infinite_width", True, "")
        spec = found.ensemble.spec
        values = {TEMPERATURE: spec.temperature, "prior.precisions[0]": spec.prior_precisions[0]}
        assert set(values.values()) == set(found.values.values())
        np.testing.assert_allclose(spec.prior_precisions[0], 1 / variance, rtol=1e-3)
        np.testing.assert_allclose(spec.temperature, temperature, rtol=1e-3)
        best = -np.sum(1 + np.log(2 * np.pi * y**2)) / 2
        np.testing.assert_allclose(found.log_evidence, best, rtol=1e-9)
        if start:
            own = evidence(ensemble, "infinite_width").log_evidence
            assert found.initial_log_evidence == own < found.log_evidence
        assert found.initial_values[TEMPERATURE] == start


@pytest.mark.slow_except("bounds0-posterior.temperature", "bounds1-posterior.temperature")
@pytest.mark.parametrize("fields", [TEMPERATURE, (READOUT, TEMPERATURE)])
@pytest.mark.parametrize("bounds", [(1e-6, 1e6), (0.05, 10.0)])
def test_from_zero_temperature_it_never_ends_below(fields, bounds):
    """K = diag(2, 1)/λ and y = (1, √½): T + k_μ/λ = y_μ² at T = 0 and λ = 2."""
    data = Dataset("two", np.diag([2.0, 2**0.5]), np.array([1.0, 0.5**0.5]), np.eye(2), np.ones(2))
    ensemble = Ensemble(EnsembleSpec(2, (), None, (2.0,), 0.0), data)
    found = maximise_evidence(ensemble, fields, bounds=bounds)
    own = evidence(ensemble, "infinite_width").log_evidence
    assert found.initial_log_evidence == own <= found.log_evidence
    assert (found.values[TEMPERATURE], found.ensemble.spec.temperature) == (0.0, 0.0)
    assert found.at_bounds == (TEMPERATURE,) and TEMPERATURE in found.message
    assert found.converged
    if fields != TEMPERATURE:
        (precision,) = found.ensemble.spec.prior_precisions
        np.testing.assert_allclose(precision, 2.0, rtol=1e-3)
        best = -np.sum(1 + np.log(2 * np.pi * data.y_train**2)) / 2
        np.testing.assert_allclose(found.log_evidence, best, rtol=1e-9)


def test_it_is_stationary_by_numpy_alone():
    """∂ log p = ½ (aᵀ ∂A a − tr A⁻¹∂A), a = A⁻¹y, in λ_1 (∂A = −K/λ_1) and in T (∂A = I)."""
    away = ensemble_of(task(), temperature=1.0)
    found = maximise_evidence(away, (READOUT, TEMPERATURE))
    data, spec = found.ensemble.data, found.ensemble.spec
    gram = nngp(spec, data.x_train)
    inverse = np.linalg.inv(gram + spec.temperature * np.eye(len(gram)))
    a = inverse @ data.y_train
    np.testing.assert_allclose(a @ a, np.trace(inverse), rtol=1e-4)
    np.testing.assert_allclose(a @ gram @ a, np.trace(inverse @ gram), rtol=1e-4)
    assert not np.isclose(away.spec.temperature, spec.temperature, rtol=0.1)


GRIDS = {
    "one_layer": ((12,), None),
    "scale_mixture": ((12,), None),
    "nested": ((12, 8), None),
    "global": ((12, 8), (1.0, 1.0, 1.0)),
    "infinite_width": ((12, 8), None),
}


@pytest.mark.slow
@pytest.mark.parametrize("theory", GRIDS)
def test_no_point_of_a_grid_has_more(theory):
    """And its own cell has the grid's best."""
    widths, biases = GRIDS[theory]
    ensemble = ensemble_of(task(), widths, biases=biases)
    found = maximise_evidence(ensemble, (READOUT, TEMPERATURE), theory=theory)
    assert found.converged and not found.at_bounds
    assert found.log_evidence == THEORIES[theory](found.ensemble).log_evidence
    precisions, temperatures = np.geomspace(0.05, 20, 25), np.geomspace(0.01, 4, 25)
    spec, table = ensemble.spec, np.empty((25, 25))
    for i, precision in enumerate(precisions.tolist()):
        for j, temperature in enumerate(temperatures.tolist()):
            lambdas = (*spec.prior_precisions[:-1], precision)
            there = ensemble.at(prior_precisions=lambdas, temperature=temperature)
            table[i, j] = THEORIES[theory](there).log_evidence
    i, j = np.unravel_index(table.argmax(), table.shape)
    assert table.max() <= found.log_evidence < table.max() + 0.3
    step = np.log(precisions[1] / precisions[0])
    assert abs(np.log(found.values[READOUT] / precisions[i])) < 1.5 * step
    assert abs(np.log(found.values[TEMPERATURE] / temperatures[j])) < 1.5 * step


def test_a_theory_without_a_covariance_is_climbed_by_difference_quotients(monkeypatch):
    """log p = −(log λ_1)² − (log T + 1)², of a function of one's own."""

    def mine(ensemble):
        spec = ensemble.spec
        logs = np.log([spec.prior_precisions[-1], spec.temperature]) + [0.0, 1.0]
        numbers = THEORIES["infinite_width"](ensemble)
        return dataclasses.replace(numbers, log_evidence=-float(logs @ logs))

    monkeypatch.setitem(THEORIES, "mine", mine)
    ensemble = ensemble_of(task()).at(prior_precisions=(1.0, 7.0))
    assert isinstance(mine(ensemble), Generalisation)
    found = maximise_evidence(ensemble, (READOUT, TEMPERATURE), theory="mine", num_starts=1)
    assert found.converged and abs(found.log_evidence) < 1e-10
    np.testing.assert_allclose([*found.values.values()], [1.0, np.exp(-1)], rtol=1e-5)


def test_a_maximum_at_a_bound_is_said():
    """Without noise, more than T = 10 is never better."""
    ensemble = ensemble_of(task(0.0), temperature=20.0)
    found = maximise_evidence(ensemble, [TEMPERATURE], bounds=(10.0, 1e3))
    assert found.at_bounds == (TEMPERATURE,) and found.converged
    assert found.values == {TEMPERATURE: 10.0} and TEMPERATURE in found.message
    inside = maximise_evidence(ensemble, TEMPERATURE)
    assert inside.at_bounds == () and inside.log_evidence > found.log_evidence
    assert inside.is_maximum and not found.is_maximum


def test_precisions_of_biases_and_all_entries():
    ensemble = ensemble_of(task(), biases=(2.0, 3.0))
    fields = ("prior.bias_precisions[1]", "prior.precisions")
    found = maximise_evidence(ensemble, fields, num_starts=1)
    assert [*found.values] == [fields[0], "prior.precisions[0]", "prior.precisions[1]"]
    assert found.ensemble.spec.bias_precisions == (2.0, found.values[fields[0]])
    slope = evidence(found.ensemble, "infinite_width")
    assert abs(slope.bias_precision_gradient[1]) < abs(
        evidence(ensemble, "infinite_width").bias_precision_gradient[1]
    )


def test_what_is_refused():
    ensemble = ensemble_of(task())
    for fields, words in {
        "posterior.temperatur": ["posterior.temperature"],
        "network.hidden_widths": ["prior.precisions", "posterior.temperature"],
        "prior.precisions[2]": ["2", "[-2]"],
        "prior.bias_precisions": ["biases"],
        "posterior.temperature[0]": ["posterior.temperature"],
    }.items():
        with refuses(*words):
            maximise_evidence(ensemble, fields)
    with refuses("prior.precisions[1]", "twice"):
        maximise_evidence(ensemble, ["prior.precisions[-1]", "prior.precisions"])
    with refuses("one_layer"):
        maximise_evidence(ensemble, TEMPERATURE, theory="one_layr")
    with pytest.raises(NotApplicable):
        maximise_evidence(ensemble_of(task(), (3, 3)), TEMPERATURE, theory="one_layer")


def test_no_evidence_at_any_start_is_said(monkeypatch):
    def none(ensemble):
        return dataclasses.replace(THEORIES["infinite_width"](ensemble), log_evidence=None)

    monkeypatch.setitem(THEORIES, "mine", none)
    with refuses("mine"):
        maximise_evidence(ensemble_of(task()), TEMPERATURE, theory="mine")
