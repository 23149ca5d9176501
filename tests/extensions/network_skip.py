"""A fully connected network with one skip connection, and the layer that it is at infinite width.

h² = W¹σ(h¹)/√N + b¹ + h¹
"""

from dataclasses import dataclass

import langevin_nn as lnn
from langevin_nn.wide_layers import Layer


@dataclass(frozen=True)
class SkipLayer(Layer):
    """The covariances of W¹σ(h¹)/√N + b¹, of mean zero whatever h¹ is, and of h¹ add up."""

    dense: Layer

    def __call__(self, covariance, precision, scale=1.0, bias=None):
        return self.dense(covariance, precision, scale, bias) + covariance


class SkipNetwork(lnn.FullyConnected):
    """Two hidden layers of the same width; the second adds what the first has."""

    def __check_init__(self):
        if len(self.hidden_widths) != 2 or len(set(self.hidden_widths)) != 1:
            raise lnn.InputError("a SkipNetwork has two layers: write hidden_widths = [200, 200]")

    @property
    def layers(self):
        first, dense, readout = super().layers
        return first, SkipLayer(dense), readout

    def features(self, x):
        first = self.preactivations(0, x)
        return self.activation(first + self.preactivations(1, self.activation(first)))
