"""The distribution of one hidden unit in the posterior, and what its units contribute to f.

The read-out integrated out, the data act on a unit with features φ (P,) through a Gaussian field of
mean a (P,) and covariance B (P, P) (`mean_field` has B = 0 there):

    q = φᵀBφ/N_1,   u = φᵀa,   p(φ) ∝ p_0(φ) (1 + q)^(−½) exp(½ u²/(N_1 (1 + q))).

Given φ, the unit's contribution g = v φ/√N_1 to f has v ~ N(u/(√N_1 (1 + q)), 1/(1 + q)), whose
prior is N(0, 1). So, times N_1, the mean and the covariance of g are

    J a,   J = E_p[φφᵀ/(1 + q)],       J + E_p[φφᵀ u²/(N_1 (1 + q)²)] − (Ja)(Ja)ᵀ/N_1.

E_p is an average over a sample from p_0 with weights, of an effective size 1/Σ w².
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.theory.features.units import Units
from langevin_nn.theory.regression.moments import Moments
from langevin_nn.types import InputError

__all__ = [
    "LEAST_EFFECTIVE", "Contribution", "Response", "about_the_sample", "contribution_at_tests",
    "gaussian_moments", "noise_of", "quadratic_form", "require_warm", "response_of", "scale_along",
]  # fmt: skip

LEAST_EFFECTIVE = 200.0
"""The effective size of a sample below which its averages are not used."""
_FEW = 0.05
"""The part of the sample below which its effective size is said."""


class Response(NamedTuple):
    """A weighted sample of units; made by `response_of`.

    `weights` w are those of p, which sum to one; `linear` w/(1 + q), `square` w u²/(N_1 (1 + q)²).
    """

    weights: Float[np.ndarray, " n"]
    linear: Float[np.ndarray, " n"]
    square: Float[np.ndarray, " n"]
    log_normaliser: float  # log E_0[(1 + q)^(−½) exp(½ u²/(N_1 (1 + q)))]

    @property
    def known(self) -> float:
        """E_p[1/(1 + q)], the part of K in J whose sampling noise the exact K takes out."""
        return float(np.sum(self.linear))

    @property
    def effective(self) -> float:
        """1/Σ w²."""
        return float(1 / np.sum(self.weights**2))

    def along(self, units: Units, a: Float[np.ndarray, " P"]) -> Float[np.ndarray, " P"]:
        """J a."""
        return units.first_moment(self.linear, self.known, a)

    def covariance(
        self, units: Units, along: Float[np.ndarray, " P"], width: int
    ) -> Float[np.ndarray, "P P"]:
        """N_1 times the covariance of a unit's contribution to f; `along` is J a."""
        moment = units.second_moment(self.linear + self.square, self.known)
        return moment - np.outer(along, along) / width


def response_of(
    q: Float[np.ndarray, " n"] | float, u: Float[np.ndarray, " n"], width: int
) -> Response:
    """The weights of units with these q and u, for N_1 = `width`.

    >>> found = response_of(q=0.0, u=np.array([0.0, 2.0]), width=2)  # weights 1 and e
    >>> found.weights.round(6), round(found.log_normaliser, 6), round(found.effective, 6)
    (array([0.268941, 0.731059]), 0.620115, 1.648054)
    """
    logs = -0.5 * np.log1p(q) + 0.5 * u**2 / (width * (1 + q))
    total = float(scipy.special.logsumexp(logs))
    weights = np.exp(logs - total)
    linear = weights / (1 + q)
    square = linear * u**2 / (width * (1 + q))
    return Response(weights, linear, square, total - float(np.log(len(u))))


def quadratic_form(units: Units, factor: Float[np.ndarray, "P P"]) -> Float[np.ndarray, " n"]:
    """φᵀ(L Lᵀ)⁻¹φ of each unit, for the lower triangular L = `factor`.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> form = quadratic_form(units, 2 * np.eye(2))
    >>> bool(np.allclose(form, np.sum(units.features**2, axis=1) / 4))
    True
    """
    form = np.empty(units.num_units)
    for block in units.blocks():
        solved = scipy.linalg.solve_triangular(
            factor, units.features[block].T, lower=True, check_finite=False
        )
        form[block] = np.sum(solved**2, axis=0)
    return form


def noise_of(units: Units, temperature: float) -> Float[np.ndarray, "P P"]:
    """T I + V Vᵀ: what the outputs have beside the hidden units' contributions.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> spec = EnsembleSpec(2, (9,), erf, (1.0, 1.0), 0.5, bias_precisions=(1.0, 4.0))
    >>> noise_of(draw_units(Ensemble(spec, two_points(1.0, 0.0)), 64), 0.5)
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    noise: np.ndarray = temperature * np.eye(len(units.gram)) + units.columns @ units.columns.T
    return noise


def require_warm(theory: str, temperature: float) -> None:
    """Raise `InputError` at T = 0, where the field of the data has no minimum to be found.

    >>> require_warm("cavity", 0.0)
    Traceback (most recent call last):
    langevin_nn.errors.InputError: cavity describes T > 0, got temperature = 0: write a temperature above 0
    """  # noqa: E501
    if not temperature > 0:
        raise InputError(
            f"{theory} describes T > 0, got temperature = {temperature:g}: write a temperature "
            "above 0"
        )


def scale_along(units: Units, response: Response, a: Float[np.ndarray, " P"]) -> float:
    """aᵀJa/aᵀKa, by which the Gram matrix has grown along a; 1 where a vanishes.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> print(f"{scale_along(units, response_of(1.0, np.zeros(64), 100), data.y_train):.6f}")
    0.500000
    """
    power = float(a @ units.gram @ a)
    return float(a @ response.along(units, a)) / power if power > 0 else 1.0


class Contribution(NamedTuple):
    """N_1 times a unit's contribution to f at test inputs x: its mean, and its covariances.

    Made by `contribution_at_tests`.
    """

    mean: Float[np.ndarray, " P_test"]  # J_x a
    cross: Float[np.ndarray, "P_test P"]
    variance: Float[np.ndarray, " P_test"]


def contribution_at_tests(
    units: Units,
    width: int,
    a: Float[np.ndarray, " P"],
    along: Float[np.ndarray, " P"],
    response: Response,
) -> Contribution:
    """The contribution of units with this response to a; `along` is J a at the training inputs.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**9,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> units, a = draw_units(Ensemble(spec, data), 64), data.y_train / 2
    >>> response = response_of(0.0, units.features @ a, 10**9)
    >>> found = contribution_at_tests(units, 10**9, a, a, response)
    >>> abs(found.mean).round(6), found.variance.round(6)
    (array([0.5, 0. ]), array([1., 1.]))
    """
    (linear, _), (moment, diagonal) = units.at_tests(
        (response.linear, response.known), (response.linear + response.square, response.known)
    )
    mean = linear @ a
    return Contribution(mean, moment - np.outer(mean, along) / width, diagonal - mean**2 / width)


def gaussian_moments(
    units: Units,
    data: Dataset,
    temperature: float,
    field: Float[np.ndarray, " P"],
    process: Contribution,
    factor: Float[np.ndarray, "P P"],
    log_evidence: float,
) -> Moments:
    """Moments of a Gaussian process of covariance M in which y − f̄ = T a at the training inputs.

    mean = `process.mean` and variance = M_xx − M_x (T + M)⁻¹ M_xᵀ, with `factor` the lower Cholesky
    factor of T + M; a = `field`, `process` M_x and M_xx. The read-out's bias is added to them.

    Units of infinite width, with K = I and T = 1:

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.units import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**9,), identity, (0.5, 1.0), temperature=1.0)
    >>> units, a = draw_units(Ensemble(spec, data), 64), data.y_train / 2
    >>> process = Contribution(a, np.eye(2), np.ones(2))
    >>> found = gaussian_moments(units, data, 1.0, a, process, np.sqrt(2) * np.eye(2), np.nan)
    >>> found.mean, found.variance.round(6), round(found.train_error, 6)
    (array([0.5, 0. ]), array([0.5, 0.5]), 0.625)
    """
    bias = units.test_columns @ units.columns.T
    solved = scipy.linalg.solve_triangular(factor, (process.cross + bias).T, lower=True)
    inverse = scipy.linalg.solve_triangular(factor, np.eye(len(field)), lower=True)
    spread = temperature * len(field) - temperature**2 * np.sum(inverse**2)
    prior = process.variance + np.sum(units.test_columns**2, axis=1)
    return Moments(
        mean=process.mean + bias @ field,
        variance=prior - np.sum(solved**2, axis=0),
        train_error=float((temperature**2 * np.sum(field**2) + spread) / len(field)),
        log_evidence=log_evidence,
    )


def about_the_sample(response: Response) -> tuple[bool, str]:
    """Whether the weights are spread over enough units, and the message where they are few.

    >>> about_the_sample(response_of(0.0, np.ones(1000), 1))
    (True, '')
    >>> about_the_sample(response_of(0.0, np.arange(1000.0), 10))[1][:54]
    'the weights of 1000 sampled units are those of 1 units'
    """
    num, effective = len(response.weights), response.effective
    enough = effective >= LEAST_EFFECTIVE
    if enough and effective >= _FEW * num:
        return True, ""
    message = f"the weights of {num} sampled units are those of {effective:.0f} units"
    if enough:
        return True, message
    return False, f"{message}, too few for an average: give more units (num_units) or a larger N_1"
