"""Networks as Equinox modules: dense, convolutional, and those of the user."""
