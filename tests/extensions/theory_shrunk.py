"""A theory with its `Solution`: f is a Gaussian process with ½ K, K the Gram matrix of the network.

The covariance is what derivatives of the log evidence and the distribution of f are made of.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from langevin_nn.theory import Solution, gram_regression, infinite_width
from langevin_nn.theory.covariance import at_scales

SCALE = 0.5


def shrunk(ensemble):
    *precisions, readout = ensemble.spec.prior_precisions
    there = ensemble.at(prior_precisions=(*precisions, readout / SCALE))  # whose Gram matrix is ½ K
    outputs = gram_regression(ensemble).per_output()
    return Solution(
        replace(infinite_width(there), order_parameters=(SCALE,)),
        covariance=partial(at_scales, ensemble, outputs, np.full(len(outputs), SCALE)),
    )
