"""What to expect: Gram matrices, effective actions, and the predictions that follow from them."""

from langevin_nn.theory.gram import gram_blocks, nngp
from langevin_nn.theory.predictors import (
    THEORIES,
    Predictions,
    gram_regression,
    infinite_width,
    one_layer,
    predict,
    scale_mixture,
)

__all__ = [
    "THEORIES",
    "Predictions",
    "gram_blocks",
    "gram_regression",
    "infinite_width",
    "nngp",
    "one_layer",
    "predict",
    "scale_mixture",
]
