"""One decomposition serves every ensemble whose Gram matrix is the same up to a factor."""

from dataclasses import replace

import numpy as np
import pytest
from theory_cases import small_task, spec_of, two_outputs

from langevin_nn.model.activations import ACTIVATIONS
from langevin_nn.theory import gram_regression, predict
from langevin_nn.theory.decompositions import Decompositions

NAMES = ("infinite_width", "global", "scale_mixture")


def warmed(spec, data):
    """Decompositions that have seen the ensemble at other widths, temperature and λ_L."""
    kept = Decompositions()
    widths = tuple(2 * width for width in spec.hidden_widths)
    precisions = (*spec.prior_precisions[:-1], 7 * spec.prior_precisions[-1])
    other = replace(spec, hidden_widths=widths, prior_precisions=precisions, temperature=3.0)
    kept.regression(other, data)
    assert kept.computed == 1
    return kept


@pytest.mark.parametrize(
    ("widths", "options"),
    [((10,), {}), ((10, 8), {"activation": "relu", "biases": True}), ((), {"biases": True})],
)
def test_a_kept_decomposition_predicts_the_same(widths, options):
    data = small_task()
    spec = spec_of(data, widths, **options)
    kept = warmed(spec, data)
    shared = predict(spec, data, NAMES, kept.regression(spec, data))
    alone = predict(spec, data, NAMES)
    assert kept.computed == 1
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


@pytest.mark.parametrize(
    "change",
    [
        {"prior_precisions": (2.0, 1.0)},
        {"activation": ACTIVATIONS["relu"]},
        {"hidden_widths": (10, 10), "prior_precisions": (1.0, 1.0, 1.0)},
        {"bias_precisions": (1.0, 1.0)},
        {"num_outputs": 2},
        {"x_train": 2.0},
        {"y_train": 2.0},
        {"x_test": 2.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_gram_matrix_is_another_decomposition(change):
    data = small_task()
    spec = spec_of(data)
    kept = Decompositions()
    kept.regression(spec, data)
    factors = {name: change[name] for name in ("x_train", "y_train", "x_test") if name in change}
    arrays = {name: factor * getattr(data, name) for name, factor in factors.items()}
    there = two_outputs(data) if "num_outputs" in change else replace(data, **arrays)
    other = spec if factors else replace(spec, **change)
    found = kept.regression(other, there)
    assert kept.computed == 2
    np.testing.assert_array_equal(found.eigenvalues, gram_regression(other, there).eigenvalues)


def test_what_does_not_fit_is_computed_again():
    data = small_task()
    kept = Decompositions(most_bytes=1.0)
    for precision in (1.0, 2.0, 2.0, 1.0):
        kept.regression(spec_of(data, precisions=(precision, 1.0)), data)
    assert kept.computed == 3
