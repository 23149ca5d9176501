"""Sample the Bayesian posterior of a finite-width network and hold it against theory.

    import jax, langevin_nn as lnn
    jax.config.update("jax_enable_x64", True)          # the theories need float64
    key = jax.random.key(0)

    data = lnn.load_dataset("digits", classes=(0, 1), num_train=50, num_test=100, key=key)
    network = lnn.FullyConnected(data.in_size, (100,), activation="erf", key=key)
    posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, temperature=0.1)
    chains = lnn.sample(posterior, lnn.Langevin(), key=key, num_chains=8, num_samples=500)
    print(lnn.compare(lnn.summarise(chains), lnn.theory.one_layer(posterior.ensemble)))

Names are loaded when they are first used: `import langevin_nn` alone imports no JAX.

The examples in the docstrings of this package begin after these lines, and know all names of the
module that they stand in:

    >>> import jax, jax.numpy as jnp, numpy as np, langevin_nn as lnn
    >>> from langevin_nn import Dataset, EnsembleSpec, Patches
    >>> from langevin_nn.model.activations import erf, identity, relu, tanh
    >>> from langevin_nn.theory.kernels.nngp import GramBlocks
    >>> from langevin_nn.theory.regression.factorise import decompose
    >>> jax.config.update("jax_enable_x64", True)
    >>> key = jax.random.key(0)
    >>> def two_points(*targets):  # orthonormal inputs, at which the network is tested as well
    ...     return Dataset("two points", np.eye(2), np.array(targets), np.eye(2), np.ones(2))
"""

import ast
import importlib
from importlib import metadata
from pathlib import Path
from typing import Any


def _homes() -> dict[str, str]:
    """The module of each public name: what `__init__.pyi` imports."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = (line for line in stub.body if isinstance(line, ast.ImportFrom))
    return {alias.name: str(line.module) for line in imports for alias in line.names}


_HOMES = _homes()

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'langevin_nn' has no attribute {name!r}")
    if _HOMES[name] == "langevin_nn":
        return importlib.import_module(f"langevin_nn.{name}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def _version() -> str:
    """The version that is installed; "unknown" in a checkout that is not."""
    try:
        return metadata.version("langevin-nn")
    except metadata.PackageNotFoundError:
        return "unknown"


def __dir__() -> list[str]:
    return list(__all__)
