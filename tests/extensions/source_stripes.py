"""A data source: whether a Gaussian input lies on the even or the odd stripes of one direction."""

import numpy as np

from langevin_nn import Dataset

WIDTH = 1.0


def stripes(rng, num_train, num_test, in_size):
    train, test = rng.spawn(2)  # more training examples leave those for testing as they are
    x_train = train.standard_normal((num_train, in_size))
    x_test = test.standard_normal((num_test, in_size))
    y_train, y_test = (1 - 2 * (np.floor(x[:, 0] / WIDTH) % 2) for x in (x_train, x_test))
    return Dataset(
        "stripes", x_train, y_train, x_test, y_test,
        provenance=(f"stripes of width {WIDTH}",),
        labelling="+1 on even stripes, -1 on odd ones",
        class_targets=(-1.0, 1.0),
    )  # fmt: skip
