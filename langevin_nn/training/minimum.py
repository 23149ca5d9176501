"""Minima of the data's energy: Levenberg–Marquardt until the gradient is small, or E is zero.

    E(θ) = ½ Σ_μ r_μ²,   r = max(0, κ − y f)  (hinge, p = 2)  or  y − f  (squared)

Gradient flow slows down near the jamming transition, where Hessians have eigenvalues of all sizes,
and its end is no minimum yet. Here each step minimises a quadratic model of E within a
radius that adapts, by SciPy's "trust-exact". The Hessian of the model is the part H_0 = JᵀJ, with
J = ∂r/∂θ, as long as gradients are large (Levenberg, Q. Appl. Math. 2, 164, 1944; Moré, Lecture
Notes in Mathematics 630, 105, 1978), and then, where H_p = Σ r ∇∇r begins to count, all of
H = H_0 + H_p, whose negative eigenvalues lead away from saddles. The radius begins at 1: MINPACK,
which begins with steps far longer than θ itself, ends in worse minima.

There may be no minimum to find: where the data cannot be fitted, the energy of smooth networks may
fall for ever, ever more slowly, while some weights grow. Such ends are not converged, and say so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jaxtyping import Bool, Float, Int

from langevin_nn.model.posterior import GibbsPosterior, Posterior
from langevin_nn.model.rows import rows_of
from langevin_nn.sampling.checks import checked_params, checked_posterior, refuse_jumps_for
from langevin_nn.training.residuals import (
    energy_and_gradient,
    energy_hessian,
    gauss_newton,
)
from langevin_nn.types import InputError
from langevin_nn.values import as_number, as_whole, shown

__all__ = ["Minimum", "find_minimum"]

MOST_WEIGHTS_FACTORISED = 5_000
"""The largest number K of weights: K × K matrices are factorised in each step."""
NEWTON_GRADIENT = 1e-3
"""The relative gradient below which the Hessian of the model is H."""
GRAM_RIDGE = 1e-12
"""The ridge on the diagonal of H_0, in units of its mean: H_0 is singular where N_Δ < K."""
FITTED_RESIDUAL = 1e-9
"""The largest residual of data fitted with the squared loss, in units of the targets."""
NEARLY_FITTED_MARGIN = 1e-6
"""The missing part of a margin, in units of it, from which on a larger margin is asked for."""


@dataclass(frozen=True, eq=False)
class Minimum:
    """The ends of the descents of n initialisations; made by `find_minimum`.

    `train_outputs` (n, P, *D) are f, `energy` (n,) is Σ_μ ℓ, exactly 0 where hinge losses vanish,
    and `unsatisfied` (n,) is N_Δ, the number of training examples whose loss is positive.
    `gradient_norm` (n,) is ‖∇E‖ and `relative_gradient` (n,) is ‖∇E‖/(‖J‖‖r‖), which is 1
    at most (Frobenius norm; 0 where the energy is). `params` are the weights after `num_steps` (n,)
    steps. `converged` (n,) is whether the data are fitted or the relative gradient is small, and
    `message` has for each initialisation the reason why not, or "".
    """

    params: Any
    train_outputs: Float[np.ndarray, "n P *D"]
    energy: Float[np.ndarray, " n"]
    gradient_norm: Float[np.ndarray, " n"]
    relative_gradient: Float[np.ndarray, " n"]
    unsatisfied: Int[np.ndarray, " n"]
    num_steps: Int[np.ndarray, " n"]
    converged: Bool[np.ndarray, " n"]
    message: tuple[str, ...]


def find_minimum(
    posterior: Posterior,
    params: Any,
    *,
    gradient_tolerance: float = 1e-6,
    max_steps: int = 1000,
) -> Minimum:
    """Minimise the data's energy from each of these initialisations, one after the other.

    Hinge losses that can be satisfied end at exactly 0: margins would be approached from below, so
    that slightly more is asked for when 10⁻⁶ of a margin is all that is missing. Other ends may
    still be saddles: look at `langevin_nn.hessian`.

    Args:
        posterior: network, data and loss; prior and temperature do not count. Float64.
        params: the weights of n networks from which to begin: `posterior.sample_prior(key, n)`, or
            `Flow.params`.
        gradient_tolerance: a descent ends where ‖∇E‖ is at most this times ‖J‖‖r‖. Unlike a bound
            on the gradient itself, it is not met by energies that are merely small.
        max_steps: the largest number of steps, each a factorisation or several of K × K matrices.

    Raises:
        InputError: a loss that is no sum of squares; a network that jumps; a posterior whose
            read-out is integrated out; float32; too many weights; numbers that are not positive.

    >>> data = lnn.load_dataset("digits", num_train=40, num_test=10, key=key, num_components=5)
    >>> network = lnn.FullyConnected(5, (10,), "gelu", key=key, dtype=jnp.float64)
    >>> prior = lnn.GaussianPrior((1.0, 1.0))
    >>> posterior = lnn.GibbsPosterior(network, prior, data, 1.0, lnn.Hinge())
    >>> found = lnn.find_minimum(posterior, posterior.sample_prior(key, 3))
    >>> found.energy.tolist(), found.unsatisfied.tolist(), bool(found.converged.all())
    ([0.0, 0.0, 0.0], [0, 0, 0], True)
    """
    posterior = _checked(posterior, params, gradient_tolerance, max_steps)
    num_networks = len(jax.tree.leaves(params)[0])
    ends = []
    for index in range(num_networks):
        start = jax.tree.map(lambda leaf, i=index: leaf[i : i + 1], params)
        ends.append(_Descent(posterior, start, gradient_tolerance, max_steps).run())
    end = jax.tree.map(
        lambda *leaves: jnp.concatenate(leaves), *[descent_end.params for descent_end in ends]
    )
    f = posterior.train_outputs(end)
    losses = np.asarray(posterior.loss(f, posterior.y_train[None]))
    per_example = losses.reshape(num_networks, len(posterior.y_train), -1).sum(axis=2)
    return Minimum(
        params=end,
        train_outputs=np.asarray(f),
        energy=per_example.sum(axis=1),
        gradient_norm=np.array([descent_end.gradient for descent_end in ends]),
        relative_gradient=np.array([descent_end.relative for descent_end in ends]),
        unsatisfied=np.sum(per_example > 0, axis=1),
        num_steps=np.array([descent_end.steps for descent_end in ends]),
        converged=np.array([not descent_end.message for descent_end in ends]),
        message=tuple(descent_end.message for descent_end in ends),
    )


@dataclass(frozen=True, eq=False)
class _End:
    params: Any
    gradient: float
    relative: float
    steps: int
    message: str


class _Descent:
    """The descent of one initialisation to a minimum."""

    def __init__(
        self, posterior: GibbsPosterior, start: Any, tolerance: float, max_steps: int
    ) -> None:
        rows, self.batch_of = rows_of(start)
        self.posterior, self.start = posterior, np.asarray(rows[0])
        self.tolerance, self.max_steps = tolerance, max_steps
        margin = posterior.loss.margin
        self.hinged = margin is not None
        of_targets = float(np.sqrt(np.mean(np.square(np.asarray(posterior.y_train)))))
        self.unit = of_targets if margin is None else margin
        self.steps = 0
        self._values = _Remembered(energy_and_gradient, self)
        self._grams = _Remembered(gauss_newton, self)

    def run(self) -> _End:
        fitted_residual = (NEARLY_FITTED_MARGIN if self.hinged else FITTED_RESIDUAL) * self.unit

        def settled(row: np.ndarray) -> bool:
            return self.missing(row) <= fitted_residual or self.relative(row) <= self.tolerance

        row = self._minimised(self.start, 1.0, settled)
        if self.hinged and 0 < self.missing(row) <= fitted_residual:
            row = self._minimised(
                row, 1 + 10 * NEARLY_FITTED_MARGIN, lambda row: self.missing(row) == 0
            )
        gradient = float(np.linalg.norm(self.value(row)[1]))
        relative, missing = self.relative(row), self.missing(row)
        message = ""
        if not (missing <= (0.0 if self.hinged else fitted_residual) or relative <= self.tolerance):
            message = (
                f"after {self.steps} steps the gradient is {relative:.1e} of ‖J‖‖r‖, more than "
                f"{self.tolerance:.1e}: write a larger max_steps or gradient_tolerance"
            )
        return _End(self.batch_of(jnp.asarray(row)), gradient, relative, self.steps, message)

    def _minimised(
        self, row: np.ndarray, factor: float, finished: Callable[[np.ndarray], bool]
    ) -> np.ndarray:
        """The row of weights at the end of a descent from `row` with `factor` times the margin."""
        if finished(row) or self.steps >= self.max_steps:
            return row

        def stop_if_finished(intermediate_result: scipy.optimize.OptimizeResult) -> None:
            if finished(intermediate_result.x):
                raise StopIteration

        result = scipy.optimize.minimize(
            lambda x: self.value(x, factor),
            row,
            jac=True,
            hess=lambda x: self.model(x, factor),
            method="trust-exact",
            callback=stop_if_finished,
            options={"gtol": 0.0, "maxiter": self.max_steps - self.steps},
        )
        self.steps += int(result.nit)
        return np.asarray(result.x)

    def value(self, row: np.ndarray, factor: float = 1.0) -> tuple[float, np.ndarray]:
        value, gradient, _ = self._values(row, factor)
        return float(value), np.asarray(gradient)

    def missing(self, row: np.ndarray) -> float:
        """The largest residual, with the margin as it is."""
        return float(self._values.latest(row)[2])

    def relative(self, row: np.ndarray) -> float:
        value, gradient = self.value(row)
        if value == 0:
            return 0.0
        scale = np.sqrt(np.trace(np.asarray(self._grams(row, 1.0))) * 2 * value)
        return float(np.linalg.norm(gradient) / max(scale, np.finfo(np.float64).tiny))

    def model(self, row: np.ndarray, factor: float) -> np.ndarray:
        """The Hessian of the quadratic model."""
        if factor == 1 and self.relative(row) < NEWTON_GRADIENT:
            arguments = self.posterior, self.batch_of, jnp.asarray(row), jnp.asarray(factor)
            return np.asarray(energy_hessian(*arguments))
        gram = np.asarray(self._grams(row, factor))
        return gram + GRAM_RIDGE * np.trace(gram) / len(row) * np.eye(len(row))


class _Remembered:
    """A function of a descent's row and factor that remembers its last arguments and value."""

    def __init__(self, function: Callable[..., Any], descent: _Descent) -> None:
        self.of = partial(function, descent.posterior, descent.batch_of)
        self._row, self._factor, self._found = np.zeros(0), 0.0, None

    def __call__(self, row: np.ndarray, factor: float) -> Any:
        if factor != self._factor or not np.array_equal(row, self._row):
            self._row, self._factor = row.copy(), factor
            self._found = self.of(jnp.asarray(row), jnp.asarray(factor))
        return self._found

    def latest(self, row: np.ndarray) -> Any:
        """The value at `row` with the last factor, so that nothing is computed anew there."""
        return self(row, self._factor or 1.0)


def _checked(
    posterior: Posterior, params: Any, gradient_tolerance: float, max_steps: int
) -> GibbsPosterior:
    posterior = checked_posterior(posterior)
    if not isinstance(posterior, GibbsPosterior):
        raise InputError(
            f"a minimum is one of all weights, got a {type(posterior).__name__}: write "
            "GibbsPosterior(network, prior, data, temperature)"
        )
    loss = posterior.loss
    if loss.residual(posterior.y_train, posterior.y_train) is None:
        raise InputError(
            f"Levenberg–Marquardt takes losses that are squares, got {shown(loss)}: write "
            "Squared(), Hinge(power=2), or in a class of your own residual(self, f, y, factor=1.0) "
            "with r of ℓ = ½ r²"
        )
    if posterior.y_train.dtype != jnp.float64:
        raise InputError(
            f"minima are found in float64, the network has {posterior.y_train.dtype}: build it "
            "with dtype=jax.numpy.float64"
        )
    checked_params(posterior, params)
    size = sum(leaf.size // len(leaf) for leaf in jax.tree.leaves(params))
    if size > MOST_WEIGHTS_FACTORISED:
        raise InputError(
            f"{size} weights are too many, {MOST_WEIGHTS_FACTORISED} at most: write a smaller "
            "network, or follow gradient_flow"
        )
    for name, value in (("gradient_tolerance", gradient_tolerance), ("max_steps", max_steps)):
        number = as_number(value) if name != "max_steps" else as_whole(value)
        if number is None or not number > 0:
            raise InputError(f"{name} must be positive, got {shown(value)}")
    refuse_jumps_for("find_minimum", posterior)
    return posterior
