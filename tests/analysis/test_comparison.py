"""Theories over the grid of a sweep: what counts, and how it is counted."""

import math

import numpy as np
import pytest
import xarray as xr

from langevin_nn.analysis.comparison import (
    Deviation,
    compare,
    grid_agreement,
    grid_marks,
    grid_note,
)
from langevin_nn.result_text import bias_mark
from langevin_nn.types import Estimate, Generalisation, StepSizeBias

AXES = ("N", "T")


def results(measured, expected, *, mcse=0.01, converged=True, settled=True):
    """A sweep over 2 × 3 points with one theory."""
    shape = (2, 3)
    filled = {
        "variance": measured, "variance_mcse": mcse, "converged": converged,
        "status": np.full(shape, "done"),
    }  # fmt: skip
    of_theory = {
        "theory_variance": expected, "theory_variance_mcse": 0.0, "theory_converged": settled,
    }  # fmt: skip
    variables = {name: (AXES, np.broadcast_to(value, shape)) for name, value in filled.items()}
    variables |= {
        name: ((*AXES, "theory"), np.broadcast_to(value, shape)[..., None])
        for name, value in of_theory.items()
    }
    return xr.Dataset(variables, coords={"theory": ["one_layer"]})


MEASURED = np.array([[1.0, 1.005, 1.03], [0.9, 1.0, 1.0]])
"""Beside 1 ± 0.01: z = 0, 0.5, 3, −10, 0, 0."""


def test_counted_by_hand():
    (found,) = grid_agreement(results(MEASURED, 1.0), "variance")
    assert (found.quantity, found.theory, found.number) == ("variance", "one_layer", 6)
    assert found.median_z == pytest.approx(0.25)
    assert found.within_two_sigmas == pytest.approx(4 / 6)
    assert found.within_one_per_cent == pytest.approx(4 / 6)
    assert found.within_five_per_cent == pytest.approx(5 / 6)
    assert found.largest == pytest.approx(-0.1) and found.place == 3


@pytest.mark.parametrize("name", ["converged", "settled"])
def test_only_points_that_have_converged_count(name):
    """Of the experiment and of the theory."""
    counts = np.array([[True, True, True], [False, True, True]])
    (found,) = grid_agreement(results(MEASURED, 1.0, **{name: counts}), "variance")
    assert found.number == 5 and found.place == 2
    assert found.largest == pytest.approx(0.03) and found.within_five_per_cent == 1


def test_points_that_are_missing_or_have_no_theory_do_not_count():
    measured, expected = MEASURED.copy(), np.ones((2, 3))
    measured[1, 0], expected[0, 2] = np.nan, np.nan
    (found,) = grid_agreement(results(measured, expected), "variance")
    assert found.number == 4 and found.within_two_sigmas == 1 and found.place == 1


def test_nothing_to_count():
    (found,) = grid_agreement(results(np.nan, 1.0, converged=False), "variance")
    assert found.number == 0 and found.place is None
    numbers = (found.median_z, found.within_two_sigmas, found.within_one_per_cent, found.largest)
    assert all(math.isnan(number) for number in numbers)


NAN = math.nan
SHIFTS = {
    (0.02, 0.001): " †", (-0.02, 0.001): " †", (0.02, NAN): " †", (NAN, NAN): " ‡",
    (0.009, 0.001): "", (0.02, 0.011): "", (0.0, 0.0): "",
}  # fmt: skip
"""Shifts of 1 ± 0.01 with their own errors, and the mark of a number that they shift."""


def shifted_results(shifts):
    """A sweep over one axis whose points are shifted so."""
    shift, error = np.transpose(shifts)
    variables = {
        "bias2": np.ones(len(shift)), "bias2_mcse": np.full(len(shift), 0.01),
        "bias2_step_size_shift": shift, "bias2_step_size_shift_mcse": error,
    }  # fmt: skip
    others = dict.fromkeys(("variance", "generalisation_error", "train_error"), np.ones(len(shift)))
    return xr.Dataset({name: ("N", values) for name, values in (variables | others).items()})


def test_marks_of_a_sweep_are_those_of_a_run():
    marks = grid_marks(shifted_results(list(SHIFTS)), "bias2").values.tolist()
    assert marks == list(SHIFTS.values())
    one, none = Estimate(1.0, 0.01), Estimate(0.0)
    for shift, mark in zip(SHIFTS, marks, strict=True):
        bias = StepSizeBias(Estimate(*shift), none, none, none)
        run = Generalisation("experiment", *np.ones((2, 3)), one, one, one, one, one,
                             step_size_bias=bias)  # fmt: skip
        assert bias_mark(run, "bias2") == mark


def test_marks_are_explained_where_there_are_any():
    for shifts, marks in (([0.0], ""), ([0.02], "†"), ([NAN], "‡"), ([NAN, 0.02], "‡†")):
        notes = grid_note(shifted_results([(shift, 0.0) for shift in shifts]))
        assert "".join(note[0] for note in notes) == marks


def test_points_that_are_not_done_and_earlier_datasets_have_no_marks():
    found = shifted_results([(NAN, NAN), (0.02, 0.0)])
    missing = found.assign(bias2=found.bias2 * NAN).isel(N=[0])
    assert grid_marks(missing, "bias2").values.tolist() == [""]
    assert grid_marks(found, "variance").values.tolist() == ["", ""]
    earlier = found[["bias2", "bias2_mcse"]]
    assert grid_marks(earlier, "bias2").values.tolist() == ["", ""]


def numbers(name, **others):
    one = Estimate(1.0, 0.01 * (name == "experiment"))
    return Generalisation(name, *np.ones((2, 3)), one, one, one, one, one, **others)


def test_an_experiment_that_has_not_converged_says_so_in_text_and_in_html():
    why = "R̂ = 1.9 is not below 1.01"
    theory, settled = numbers("one_layer"), numbers("experiment")
    unsettled = numbers("experiment", converged=False, message=why)
    for shown in (str, lambda comparison: comparison._repr_html_()):
        text = shown(compare(unsettled, theory))
        assert "experiment (not converged)" in text and text.count(why) == 1
        assert "one_layer (not" not in text
        assert "not converged" not in shown(compare(settled, theory))
    assert "not converged" not in str(compare(unsettled, theory).unmarked)


def test_large_deviations_keep_their_digits():
    sigmas = [Deviation("bias2", "t", Estimate(1 + z, 1.0), Estimate(1.0)).in_sigmas
              for z in (-3.26, 999.9, 1120.0)]  # fmt: skip
    assert sigmas == ["-3.3σ", "+999.9σ", "+1,120σ"]
