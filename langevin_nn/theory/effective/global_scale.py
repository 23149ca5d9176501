"""Hidden layers that share one scale: the theory `global`."""

from functools import partial

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.effective.common import at_common_scale
from langevin_nn.types import Generalisation

__all__ = ["THEORY", "global_"]

_domain = partial(require, "global")


def global_(ensemble: Ensemble) -> Generalisation:
    """Hidden layers that share one scale: the Gaussian process with Q_1 ⋯ Q_L K_L, any depth.

    The equivalent Wishart ansatz (arXiv:2605.29684). S = Σ_ℓ N_ℓ (Q_ℓ − 1 − log Q_ℓ) +
    log det(T + Q_1 ⋯ Q_L K_L) + yᵀ(…)⁻¹y, K_L (P, P) and y (P,), is minimised over Q_1 … Q_L, which
    are the order parameters; widths may differ. Named "global" in tables and files. With one hidden
    layer it is `one_layer`, for relu it is `nested`.

    Arguments and errors as for `infinite_width`; hidden layers and one output, or NotApplicable.

    >>> data = two_points(2.0, -2.0)
    >>> spec = EnsembleSpec(2, (4, 4), identity, (0.5, 1.0, 1.0), temperature=0.0)
    >>> q, _ = global_(Ensemble(spec, data)).order_parameters
    >>> print(f"{1 - q:.9f} {0.5 * (1 - 4 / q**2):.9f}")  # 1 − Q = α (1 − s/Q^L)
    -0.450540170 -0.450540170
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    return at_common_scale("global", _domain(ensemble), ensemble)


def _twin(ensemble: Ensemble) -> str:
    is_one_layer = len(ensemble.spec.hidden_widths or ()) == 1
    return "with one hidden layer global is one_layer: ask for it by name" if is_one_layer else ""


THEORY = Theory(
    "global",
    _solve,
    summary="Hidden layers that share one scale of K_L, at the saddle point.",
    style={"color": "#0072B2", "linestyle": "-", "marker": "o"},
    domain=_domain,
    twin=_twin,
    one_scale=True,
    is_first=True,
)
