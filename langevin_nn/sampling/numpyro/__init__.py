"""To NumPyro and back: a dynamics as its kernel, a posterior as its model."""
