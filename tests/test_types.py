"""The ensemble's specification refuses what no ensemble has, and says what to give."""

import re

import pytest

from langevin_nn.model.activations import erf
from langevin_nn.types import EnsembleSpec, InputError, Patches

GOOD = {
    "in_size": 4,
    "hidden_widths": (3,),
    "activation": erf,
    "prior_precisions": (1.0, 2.0),
    "temperature": 0.1,
}
IMAGE = Patches((2, 2, 1), size=1, stride=1)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"temperature": -0.1}, "temperature must be zero or positive, and finite, got -0.1"),
        ({"temperature": float("nan")}, "temperature must be zero or positive, and finite, got"),
        ({"temperature": float("inf")}, "temperature must be zero or positive, and finite, got"),
        ({"prior_precisions": (1.0, -2.0)}, "prior precisions must be positive and finite, got"),
        ({"prior_precisions": (1.0, float("inf"))}, "prior precisions must be positive and finite"),
        ({"prior_precisions": (1.0,)}, "1 hidden layer(s) need 2 prior precisions"),
        ({"bias_precisions": (1.0, 0.0)}, "bias precisions must be positive and finite, got"),
        ({"bias_precisions": (1.0, 1.0, 1.0)}, "need 2 bias precisions λ_0 … λ_L, got 3"),
        ({"hidden_widths": (0,)}, "hidden widths must be positive, got (0,)"),
        ({"num_outputs": 0}, "number of outputs must be positive, got 0"),
        ({"patches": IMAGE, "in_size": 5}, "images of shape (2, 2, 1) have 4 inputs, not 5"),
        (
            {"patches": IMAGE, "hidden_widths": (3, 3), "prior_precisions": (1.0, 1.0, 1.0)},
            "a convolutional network has one hidden layer, got hidden widths (3, 3)",
        ),
    ],
)
def test_specifications_that_no_ensemble_has(change, message):
    EnsembleSpec(**GOOD)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        EnsembleSpec(**GOOD | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (((4, 4, 1), 5, 1), "patches of 5 × 5 pixels do not fit into images of 4 × 4"),
        (((4, 4, 1), 0, 1), "patches have a positive size and stride"),
        (((4, 4, 1), 2, 0), "patches have a positive size and stride"),
    ],
)
def test_patches_that_do_not_fit(arguments, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Patches(*arguments)


def test_patches_lie_inside_the_image_and_keep_their_colours():
    patches = Patches((3, 5, 2), size=2, stride=2)
    assert (patches.num_patches, patches.patch_size) == (2, 8)
    assert patches.indices().tolist() == [
        [0, 1, 2, 3, 10, 11, 12, 13],
        [4, 5, 6, 7, 14, 15, 16, 17],
    ]
