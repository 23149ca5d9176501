"""What the maps of tasks say of an ensemble, and of which ensembles they say nothing."""

import numpy as np
import pytest
from cases import ensemble_of, small_task, spec_of, two_outputs

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.runs import tables
from langevin_nn.theory import predict
from langevin_nn.theory.guide import GUIDE, TOLERANCE, guidance


def test_the_ranges_do_not_overlap_and_hold_what_they_should():
    for ratio in (0.1, 0.3, 0.7, 1.0, 5.0, 10.0, 100.0):
        for criterion in (0.0, 0.5, 1.0, 20.0):
            assert sum(place.holds(ratio, criterion) for place in GUIDE) == 1
    for place in GUIDE:
        assert place.points > 0 and place.nearest.median <= place.nearest.worst
        if place.cheapest is not None:
            assert place.nearest.worst <= place.cheapest.worst <= TOLERANCE


def test_a_network_like_those_of_the_maps_is_told():
    ensemble = ensemble_of(small_task(), (9,))  # N_1/P = 1.5
    predictions = predict(ensemble, "infinite_width")
    text = guidance(ensemble, predictions.criterion)
    assert predictions.guidance == text
    assert text.startswith(f"at N_1/P = 1.5 and s = {predictions.criterion:.2g}: propagation was")
    assert f"maps       {text}" in tables.remarks(predictions)
    assert "cheaper, matched was" in guidance(ensemble, 0.5)
    narrow = guidance(ensemble_of(small_task(), (1,)), 0.5)
    assert "none was within 5 % at all points: try adaptive" in narrow and "cheaper" not in narrow


@pytest.mark.parametrize(
    "data, widths, options",
    [
        (small_task(), (9, 9), {}),
        (small_task(), (9,), {"biases": True}),
        (small_task(), (9,), {"temperature": 0.0}),
        (small_task(), (9,), {"loss": "hinge"}),
        (two_outputs(small_task()), (9,), {}),
    ],
)
def test_of_others_the_maps_say_nothing(data, widths, options):
    assert guidance(Ensemble(spec_of(data, widths, **options), data), 0.5) == ""


@pytest.mark.parametrize("criterion", [None, np.inf, np.nan])
def test_without_a_criterion_there_is_no_place(criterion):
    assert guidance(ensemble_of(small_task(), (9,)), criterion) == ""
