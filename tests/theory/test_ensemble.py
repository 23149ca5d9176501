"""One decomposition serves every ensemble whose Gram matrix is the same up to a factor."""

from dataclasses import replace

import numpy as np
import pytest
from cases import ensemble_of, small_task, two_outputs

from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory import ensemble as module
from langevin_nn.theory import gram_regression, one_layer, predict
from langevin_nn.theory.ensemble import Decompositions
from langevin_nn.types import Patches

NAMES = ("infinite_width", "global", "scale_mixture")


@pytest.fixture
def decomposed(monkeypatch):
    """The ensembles whose Gram matrices were decomposed."""
    found, decompose = [], module.decompose
    monkeypatch.setattr(module, "decompose", lambda *args: found.append(args) or decompose(*args))
    return found


def elsewhere(ensemble):
    """The ensemble at other widths, temperature and λ_L."""
    spec = ensemble.spec
    widths = tuple(2 * width for width in spec.hidden_widths)
    precisions = (*spec.prior_precisions[:-1], 7 * spec.prior_precisions[-1])
    return ensemble.at(hidden_widths=widths, prior_precisions=precisions, temperature=3.0)


def kept(ensemble):
    """By a cache that has seen another one."""
    cache = Decompositions()
    cache.shared(elsewhere(ensemble))
    return cache.shared(Ensemble(ensemble.spec, ensemble.data))


def moved(ensemble):
    """By an ensemble that it is made of."""
    return replace(elsewhere(ensemble), origin=None).at(**vars(ensemble.spec))


@pytest.mark.parametrize("sharing", [kept, moved])
@pytest.mark.parametrize(
    ("widths", "options"),
    [((10,), {}), ((10, 8), {"activation": "relu", "biases": True}), ((), {"biases": True})],
)
def test_a_shared_decomposition_predicts_the_same(widths, options, sharing, decomposed):
    ensemble = ensemble_of(small_task(), widths, **options)
    shared = predict(sharing(ensemble), NAMES)
    assert len(decomposed) == 1
    alone = predict(ensemble, NAMES)
    for name, theory in alone.results.items():
        mine = shared.results[name]
        for quantity in ("bias2", "variance", "train_error"):
            expected = getattr(theory, quantity).value
            assert getattr(mine, quantity).value == pytest.approx(expected, rel=1e-9), name
        assert mine.log_evidence == pytest.approx(theory.log_evidence, rel=1e-9)
    if alone.criterion is None:
        assert shared.criterion is None, "fewer inputs than examples: singular"
    else:
        assert shared.criterion == pytest.approx(alone.criterion, rel=1e-9)


def test_all_that_an_ensemble_is_asked_takes_one_decomposition(decomposed):
    ensemble = ensemble_of(small_task())
    predict(ensemble, NAMES)
    one_layer(ensemble, width=[3, 4])
    predict(ensemble.at(temperature=0.3, hidden_widths=(7,)), NAMES)
    assert len(decomposed) == 1
    assert gram_regression(ensemble.at(temperature=1.0)) is gram_regression(ensemble)


@pytest.mark.parametrize(
    "change",
    [
        {"prior_precisions": (2.0, 1.0)},
        {"activation": ACTIVATIONS["relu"]},
        {"hidden_widths": (10, 10), "prior_precisions": (1.0, 1.0, 1.0)},
        {"bias_precisions": (1.0, 1.0)},
        {"patches": Patches((1, 5, 1), 1, 1)},
        {"num_outputs": 2},
        {"x_train": 2.0},
        {"y_train": 2.0},
        {"x_test": 2.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_gram_matrix_is_another_decomposition(change):  # FAULTS 1.4
    data = small_task()
    ensemble, cache = ensemble_of(data), Decompositions()
    cache.shared(ensemble)
    factors = {name: change[name] for name in ("x_train", "y_train", "x_test") if name in change}
    arrays = {name: factor * getattr(data, name) for name, factor in factors.items()}
    there = two_outputs(data) if "num_outputs" in change else replace(data, **arrays)
    spec = ensemble.spec if factors else replace(ensemble.spec, **change)
    expected = gram_regression(Ensemble(spec, there))
    for other in (cache.shared(Ensemble(spec, there)), Ensemble(spec, there, ensemble)):
        found = gram_regression(other)
        np.testing.assert_array_equal(found.eigenvalues, expected.eigenvalues)
        np.testing.assert_array_equal(found.projected_targets, expected.projected_targets)
        np.testing.assert_array_equal(found.projected_cross, expected.projected_cross)
    assert cache.computed == 2


def test_what_does_not_fit_is_computed_again():
    data = small_task()
    cache = Decompositions(most_bytes=1.0)
    for precision in (1.0, 2.0, 2.0, 1.0):
        cache.shared(ensemble_of(data, precisions=(precision, 1.0)))
    assert cache.computed == 3


def test_what_theories_keep_counts_for_the_cache():
    """Features of hidden units beside the decomposition, until they do not fit together."""
    data = small_task()
    weak, strong = (
        ensemble_of(data, (9,), precisions=(precision, 1.0)) for precision in (1.0, 2.0)
    )
    cache = Decompositions(most_bytes=1e6)
    first = cache.shared(weak)
    before = first.origin.kept_bytes
    predict(first, ["width_expansion"])
    assert first.origin.kept_bytes > before + 1e6
    cache.shared(strong)
    cache.shared(weak)
    assert cache.computed == 3
