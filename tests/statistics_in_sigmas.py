"""Statistical assertions, in units of the standard error."""

import numpy as np

SIGMAS = 5.0
"""What a correct estimate may be off: once in 1.7 million times by chance."""


def z_scores(samples: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    """(mean of independent samples along axis 0 − expected)/standard error, elementwise."""
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    return (samples.mean(axis=0) - expected) / error


def worst(z: np.ndarray) -> float:
    return float(np.max(np.abs(z)))
