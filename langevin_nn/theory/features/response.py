"""The distribution of one hidden unit in the posterior, and what its units contribute to f.

The read-out integrated out, the data act on a unit with features φ (P,) through a Gaussian field of
mean a (P,) and covariance B (P, P) (`mean_field` has B = 0 there):

    q = φᵀBφ/N_1,   u = φᵀa,   p(φ) ∝ p_0(φ) (1 + q)^(−½) exp(½ u²/(N_1 (1 + q))).

Given φ, the unit's contribution g = v φ/√N_1 to f has v ~ N(u/(√N_1 (1 + q)), 1/(1 + q)), whose
prior is N(0, 1). So, times N_1, the mean and the covariance of g are

    J a,   J = E_p[φφᵀ/(1 + q)],       J + E_p[φφᵀ u²/(N_1 (1 + q)²)] − (Ja)(Ja)ᵀ/N_1.

With D outputs the field is one of P D numbers, of which B has D × D blocks. q (D, D) and u, v (D,)
are of the outputs,

    q_de = φᵀB_deφ/N_1,   u_d = φᵀa_d,   p ∝ p_0 det(1 + q)^(−½) exp(½ uᵀ(1 + q)⁻¹u/N_1),

and in J and the covariance stand the Kronecker products of φφᵀ with (1 + q)⁻¹ and with s sᵀ/N_1,
s = (1 + q)⁻¹u. Fields and contributions are flat: one output after the other.

A channel of a convolutional layer has the features φ_s (P,), s = 1 … n, of each of n patches, and a
read-out weight for each. In a field of one output q_st = φ_sᵀBφ_t/N_1 and u_s = φ_sᵀa are of the
patches, p is as above, and with (1 + q)⁻¹ and s sᵀ/N_1 stand φ_s φ_tᵀ, summed over both (`units`).

E_p is an average over a sample from p_0 with weights, of an effective size 1/Σ w².
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.special
from jaxtyping import Bool, Float

from langevin_nn.data.dataset import Dataset
from langevin_nn.theory.features.outputs import repeated, unflat
from langevin_nn.theory.features.units import Units
from langevin_nn.theory.regression.moments import Moments
from langevin_nn.types import InputError

__all__ = [
    "LEAST_EFFECTIVE", "Contribution", "Response", "about_the_sample", "contribution_at_tests",
    "gaussian_moments", "gaussian_train_error", "log_tilt", "noise_of", "require_warm",
    "response_of", "scale_along",
]  # fmt: skip

LEAST_EFFECTIVE = 200.0
"""The effective size of a sample below which its averages are not used."""
_FEW = 0.05
"""The part of the sample below which its effective size is said."""


class Response(NamedTuple):
    """A weighted sample of units; made by `response_of`.

    `weights` w are those of p, which sum to one; `linear` w (1 + q)⁻¹, `square` w s sᵀ/N_1.
    """

    weights: Float[np.ndarray, " n"]
    linear: Float[np.ndarray, "n D D"]
    square: Float[np.ndarray, "n D D"]
    log_normaliser: float  # log E_0[det(1 + q)^(−½) exp(½ uᵀ(1 + q)⁻¹u/N_1)]

    @property
    def known(self) -> Float[np.ndarray, "D D"]:
        """E_p[(1 + q)⁻¹], the part of K in J whose sampling noise the exact K takes out."""
        known: np.ndarray = np.sum(self.linear, axis=0)
        return known

    @property
    def effective(self) -> float:
        """1/Σ w²."""
        return float(1 / np.sum(self.weights**2))

    def along(self, units: Units, a: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        """J a, both of P D numbers."""
        return units.moment_along(self.linear, self.known, a)

    def covariance(
        self, units: Units, along: Float[np.ndarray, " m"], width: int
    ) -> Float[np.ndarray, "m m"]:
        """N_1 times the covariance of a unit's contribution to f; `along` is J a."""
        moment = units.moment(self.linear + self.square, self.known)
        return moment - np.outer(along, along) / width


def response_of(
    q: Float[np.ndarray, " n"] | Float[np.ndarray, "n k k"] | float,
    u: Float[np.ndarray, " n"] | Float[np.ndarray, "n D"],
    width: int,
) -> Response:
    """The weights of units with these q and u, for N_1 = `width`.

    A number q stands for q times the unit matrix, k = 1 too.

    >>> found = response_of(q=0.0, u=np.array([0.0, 2.0]), width=2)  # weights 1 and e
    >>> found.weights.round(6), round(found.log_normaliser, 6), round(found.effective, 6)
    (array([0.268941, 0.731059]), 0.620115, 1.648054)

    Two outputs that do not know of each other

    >>> q = np.array([[[3.0, 0.0], [0.0, 0.0]]])
    >>> found = response_of(q, u=np.array([[0.0, 2.0]]), width=2)
    >>> found.linear[0], round(found.log_normaliser - 1, 6)  # 1 − log 2
    (array([[0.25, 0.  ],
           [0.  , 1.  ]]), -0.693147)
    """
    u = u[:, None] if u.ndim == 1 else u
    spectrum, vectors = _spectrum(np.asarray(q), *u.shape)
    along = u if vectors is None else np.einsum("nij,ni->nj", vectors, u)
    stiffness = 1 + spectrum
    logs = log_tilt(spectrum, along, width)
    total = float(scipy.special.logsumexp(logs))
    weights = np.exp(logs - total)
    diagonal = weights[:, None] / stiffness
    linear = diagonal[:, :, None] * np.eye(u.shape[1])
    products = along[:, :, None] * along[:, None, :]
    square = diagonal[:, :, None] * products / (width * stiffness[:, None, :])
    if vectors is not None:
        linear, square = (vectors @ each @ np.swapaxes(vectors, 1, 2) for each in (linear, square))
    return Response(weights, linear, square, total - float(np.log(len(u))))


def _spectrum(
    q: Float[np.ndarray, "*shape"], num: int, num_outputs: int
) -> tuple[Float[np.ndarray, "n D"], Float[np.ndarray, "n D D"] | None]:
    """The eigenvalues of q, none negative, and the eigenvectors; None for the unit vectors."""
    if q.ndim < 3 or q.shape[1] == 1:
        spectrum = np.broadcast_to(q.reshape(-1, 1), (num, num_outputs))
        return np.maximum(spectrum, 0.0), None
    spectrum, vectors = np.linalg.eigh(q)
    return np.maximum(spectrum, 0.0), vectors


def log_tilt(
    q: Float[np.ndarray, "n D"], u: Float[np.ndarray, "n D"], width: int
) -> Float[np.ndarray, " n"]:
    """log p/p_0 of units, but for its normalisation: −½ log(1 + q) + ½ u²/(N_1 (1 + q)).

    q has the eigenvalues, and u is in their basis; the sum is over the outputs.

    >>> log_tilt(np.array([[1.0]]), np.array([[2.0]]), width=1).round(6)
    array([0.653426])
    """
    tilt: np.ndarray = np.sum(-0.5 * np.log1p(q) + 0.5 * u**2 / (width * (1 + q)), axis=1)
    return tilt


def noise_of(units: Units, temperature: float) -> Float[np.ndarray, "P P"]:
    """T I + V Vᵀ: what an output has beside the hidden units' contributions.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.samples import draw_units
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


def scale_along(units: Units, response: Response, a: Float[np.ndarray, " m"]) -> float:
    """aᵀJa/aᵀKa, by which the Gram matrix has grown along a; 1 where a vanishes.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.samples import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (100,), identity, (0.5, 1.0), temperature=0.1)
    >>> units = draw_units(Ensemble(spec, data), 64)
    >>> print(f"{scale_along(units, response_of(1.0, np.zeros(64), 100), data.y_train):.6f}")
    0.500000
    """
    power = float(np.trace(units.prior_outputs(a)))
    return float(a @ response.along(units, a)) / power if power > 0 else 1.0


class Contribution(NamedTuple):
    """N_1 times a unit's contribution to f at test inputs x: its mean, and its covariances.

    They are flat, one output after the other. Made by `contribution_at_tests`.
    """

    mean: Float[np.ndarray, " x"]  # J_x a
    cross: Float[np.ndarray, "x m"]
    variance: Float[np.ndarray, " x"]


def contribution_at_tests(
    units: Units,
    width: int,
    a: Float[np.ndarray, " m"],
    along: Float[np.ndarray, " m"],
    response: Response,
) -> Contribution:
    """The contribution of units with this response to a; `along` is J a at the training inputs.

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.samples import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**9,), identity, (0.5, 1.0), temperature=1.0)  # K = I
    >>> units, a = draw_units(Ensemble(spec, data), 64), data.y_train / 2
    >>> response = response_of(0.0, units.features @ a, 10**9)
    >>> found = contribution_at_tests(units, 10**9, a, a, response)
    >>> abs(found.mean).round(6), found.variance.round(6)
    (array([0.5, 0. ]), array([1., 1.]))
    """
    (linear, _), (moment, diagonal) = units.moments_at_tests(
        response.known, response.linear, response.linear + response.square
    )
    mean = linear @ a
    return Contribution(mean, moment - np.outer(mean, along) / width, diagonal - mean**2 / width)


def gaussian_moments(
    units: Units,
    data: Dataset,
    field: Float[np.ndarray, " m"],
    process: Contribution,
    factor: Float[np.ndarray, "k k"],
    train_error: float,
    log_evidence: float,
    curved: Bool[np.ndarray, " m"] | None = None,
) -> Moments:
    """Moments of a Gaussian process of covariance M with the field a on its outputs.

    mean = `process.mean` and variance = M_xx − M_x (T + M)⁻¹ M_xᵀ, with `factor` the lower Cholesky
    factor of T + M; a = `field`, `process` M_x and M_xx. The read-out's bias is added to them.
    Where T is infinite for some training outputs, the `factor` is that of the others, `curved`.

    Units of infinite width, with K = I and T = 1:

    >>> from langevin_nn.model.ensemble import Ensemble
    >>> from langevin_nn.theory.features.samples import draw_units
    >>> data = two_points(1.0, 0.0)
    >>> spec = EnsembleSpec(2, (10**9,), identity, (0.5, 1.0), temperature=1.0)
    >>> units, a = draw_units(Ensemble(spec, data), 64), data.y_train / 2
    >>> process = Contribution(a, np.eye(2), np.ones(2))
    >>> factor = np.sqrt(2) * np.eye(2)
    >>> found = gaussian_moments(units, data, a, process, factor, np.nan, np.nan)
    >>> found.mean, found.variance.round(6)
    (array([0.5, 0. ]), array([0.5, 0.5]))
    """
    num_outputs, shape = len(field) // len(units.gram), data.y_test.shape
    bias = repeated(units.test_columns @ units.columns.T, num_outputs)
    whole = process.cross + bias
    known = whole if curved is None else whole[:, curved]
    solved = scipy.linalg.solve_triangular(factor, known.T, lower=True)
    of_bias = np.tile(np.sum(units.test_columns**2, axis=1), num_outputs)
    return Moments(
        mean=unflat(process.mean + bias @ field, shape),
        variance=unflat(process.variance + of_bias - np.sum(solved**2, axis=0), shape),
        train_error=train_error,
        log_evidence=log_evidence,
    )


def gaussian_train_error(
    data: Dataset,
    temperature: float,
    field: Float[np.ndarray, " m"],
    factor: Float[np.ndarray, "m m"],
) -> float:
    """⟨(y − f)²⟩ on the training set, where y − f̄ = T a and `factor` is that of T + M.

    K = I and T = 1, of infinite width

    >>> data = two_points(1.0, 0.0)
    >>> round(gaussian_train_error(data, 1.0, data.y_train / 2, np.sqrt(2) * np.eye(2)), 6)
    0.625
    """
    inverse = scipy.linalg.solve_triangular(factor, np.eye(len(field)), lower=True)
    spread = temperature * len(field) - temperature**2 * np.sum(inverse**2)
    return float((temperature**2 * np.sum(field**2) + spread) / data.num_train)


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
