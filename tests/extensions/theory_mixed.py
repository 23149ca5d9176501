"""A theory that mixes two others: f is from either of them, with equal probability.

The moments are those of the mixture: between the two means lies a variance of its own.
"""

import numpy as np

import langevin_nn as lnn
from langevin_nn.theory import infinite_width, one_layer
from langevin_nn.theory.regression.moments import Moments, generalisation


def mixture(ensemble):
    wide, narrow = infinite_width(ensemble), one_layer(ensemble)
    apart = (wide.predictive_mean - narrow.predictive_mean) / 2
    moments = Moments(
        mean=(wide.predictive_mean + narrow.predictive_mean) / 2,
        variance=(wide.predictive_variance + narrow.predictive_variance) / 2 + apart**2,
        train_error=(wide.train_error.value + narrow.train_error.value) / 2,
        log_evidence=np.logaddexp(wide.log_evidence, narrow.log_evidence) - np.log(2),
    )
    converged = wide.converged and narrow.converged
    return generalisation("mixture", ensemble.data, moments, narrow.order_parameters, converged)


# The function alone would do; a Theory says what it is, and how it looks in figures.
MIXED = lnn.Theory(
    "mixed",
    mixture,
    summary="Infinite width or one hidden layer, with equal probability.",
    style={"color": "#999999", "linestyle": ":", "marker": "s"},
)
