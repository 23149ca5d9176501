"""Several outputs: the theory `multi_output`, f | Q ~ GP(0, Q ⊗ K_1) with Q (D × D).

Q is symmetric and positive, and minimises

    S(Q) = N_1 (Tr Q − dim Q − log det Q) + log det A + yᵀA⁻¹y,   A = T I + K_R(Q) + (read-out bias)

(Baglioni et al., arXiv:2412.15911), found by `saddles.matrix`. N_1 is the number of hidden units.
"""

from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float

from langevin_nn.model.ensemble import Ensemble
from langevin_nn.theory.applicability import require
from langevin_nn.theory.base import Solution, Theory
from langevin_nn.theory.covariance import at_scales
from langevin_nn.theory.effective.common import about_the_mean, scale_action
from langevin_nn.theory.ensemble import gram_regression
from langevin_nn.theory.regression.moments import (
    Moments,
    gaussian_evidence,
    generalisation,
    joined,
    moments_at_scale,
    not_found,
)
from langevin_nn.theory.representation import by_the_evidence
from langevin_nn.theory.saddles.matrix import OutputAction, matrix_of, rows_of, starting_scales
from langevin_nn.theory.saddles.newton import lowest
from langevin_nn.theory.saddles.scale import ScaleAction
from langevin_nn.types import EnsembleSpec, Generalisation

__all__ = ["THEORY", "multi_output"]

_domain = partial(require, "multi_output", depth=1, several_outputs=True)


def multi_output(ensemble: Ensemble) -> Generalisation:
    """One hidden layer, D outputs: the Gaussian process with Q* ⊗ K_1, Q* (D × D) minimising S(Q).

    S = N_1 (Tr Q − D − log det Q) + log det A + vec(y)ᵀA⁻¹vec(y), A = Q ⊗ K_1 + T I (DP, DP), K_1
    (P, P), y (P, D) (Baglioni et al., arXiv:2412.15911). With Q* = O diag(q) Oᵀ the rotated outputs
    Oᵀf are independent, each with the Gram matrix q_j K_1. The order parameters are the rows of Q*.
    With one output it is `one_layer`. Minima are looked for from every minimum of S along Q ∝ 1;
    the lowest counts. It is derived for odd σ.

    Arguments and errors as for `infinite_width`; one hidden layer, or NotApplicable.

    >>> y = np.array([[2.0, 0.0], [0.0, 2.0]])
    >>> data = Dataset("two points", np.eye(2), y, np.eye(2), y)
    >>> spec = EnsembleSpec(2, (4,), identity, (0.5, 1.0), temperature=0.0, num_outputs=2)
    >>> np.array(multi_output(Ensemble(spec, data)).order_parameters).round(6)  # Q² − Q/2 = Y Yᵀ/4
    array([[1.280776, 0.      ],
           [0.      , 1.280776]])
    """
    return THEORY(ensemble)


def _solve(ensemble: Ensemble) -> Solution:
    (width,) = _domain(ensemble)
    spec, data, regression = ensemble.spec, ensemble.data, gram_regression(ensemble)
    targets = regression.projected_targets.reshape(data.num_train, -1)
    eigenvalues, range_targets, columns, constant = replace(
        regression, projected_targets=targets
    ).resolved(spec.temperature)
    action = OutputAction(width, spec.temperature, eigenvalues, range_targets, columns)
    along = ScaleAction(
        (width,), spec.temperature, eigenvalues, np.sqrt(np.mean(range_targets**2, axis=1))
    )
    minimum = lowest([action.minimum(scale) for scale in starting_scales(along)])
    if not np.all(np.isfinite(minimum.point)):
        return Solution(not_found("multi_output", data, minimum.message))
    order = matrix_of(minimum.point)
    scales, rotation = np.linalg.eigh(order)
    outputs = replace(regression, projected_targets=targets @ rotation).per_output()
    output_moments = []
    for output, scale in zip(outputs, scales, strict=True):  # S is a sum over these
        along, _ = scale_action(spec, output, (width,))
        curvature = float(along.curvature(float(np.log(scale))))
        output_moments.append(
            moments_at_scale(output, spec.temperature, float(scale), curvature=curvature)
        )
    moments = Moments(
        mean=np.stack([one_output.mean for one_output in output_moments], axis=1) @ rotation.T,
        variance=np.stack([one_output.variance for one_output in output_moments], axis=1)
        @ rotation.T**2,
        train_error=sum(one_output.train_error for one_output in output_moments),
        log_evidence=gaussian_evidence(minimum.action + constant, targets.size),
        message=joined(*(one_output.message for one_output in output_moments)),
    )
    if data.y_train.ndim == 1:
        moments = moments._replace(mean=moments.mean[:, 0], variance=moments.variance[:, 0])
    reason = "" if minimum.converged else _about_flat_outputs(spec, range_targets, width)
    message = joined(reason or minimum.message, about_the_mean(spec))
    covariance = partial(at_scales, ensemble, outputs, scales)
    return Solution(
        generalisation("multi_output", data, moments, rows_of(order), minimum.converged, message),
        covariance,
        kernels=partial(by_the_evidence, ensemble, covariance, order),
    )


def _about_flat_outputs(spec: EnsembleSpec, targets: Float[np.ndarray, "P D"], width: int) -> str:
    """Why S has no minimum at T = 0: outputs whose combination has no signal."""
    rank = int(np.linalg.matrix_rank(targets))
    if spec.temperature > 0 or rank == targets.shape[1] or len(targets) < width:
        return ""
    return (
        f"the action has no minimum: the targets span {rank} of {targets.shape[1]} outputs, and "
        "with T = 0 and P ≥ N_1 it falls as Q → 0 in the others"
    )


def _twin(ensemble: Ensemble) -> str:
    is_one_output = ensemble.spec.num_outputs == 1
    return "with one output multi_output is one_layer: ask for it by name" if is_one_output else ""


THEORY = Theory(
    "multi_output",
    _solve,
    summary="One hidden layer with several outputs: a matrix of scales at its saddle point.",
    style={"color": "#0072B2", "linestyle": "-", "marker": "o"},
    domain=_domain,
    twin=_twin,
    is_first=True,
)
