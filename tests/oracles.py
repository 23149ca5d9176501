"""Independent answers: closed forms and other people's samplers, in NumPy and NumPyro."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import scipy.integrate
import scipy.special
from jax.scipy.special import erf
from numpyro.infer import MCMC, NUTS

from langevin_nn.data.dataset import Dataset


def _of_unit_power(formula):
    """The formula with E[σ(z)²] = 1, z ~ N(0, 1)."""

    def density(z):
        return formula(z) ** 2 * np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)

    power = sum(scipy.integrate.quad(density, *ends, epsabs=1e-14)[0] for ends in ((-9, 0), (0, 9)))
    return lambda z: formula(z) / np.sqrt(power)


NUMPY_ACTIVATIONS = {
    "erf": scipy.special.erf,
    "relu": lambda z: np.maximum(z, 0),
    "identity": lambda z: z,
    "tanh": np.tanh,
    "gelu": lambda z: z * scipy.special.ndtr(z),
    "swish10": _of_unit_power(lambda z: z * scipy.special.expit(10 * z)),
    "softplus5": _of_unit_power(lambda z: np.logaddexp(0, 5 * z) / 5),
}


def linear_langevin_law(
    features: np.ndarray,
    y: np.ndarray,
    precisions: np.ndarray,
    temperature: float,
    step_size: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, covariance and one-step autocovariance of discrete Langevin dynamics on f = w·φ.

    𝓛 = ½|y − Φw|² + (T/2) Σ_i λ_i w_i² has the Hessian H = ΦᵀΦ + T diag(λ), and
    θ' = θ − η∇𝓛 + √(2ηT)ξ is an AR(1) process with the mean H⁻¹Φᵀy, the covariance
    T H⁻¹(1 − ηH/2)⁻¹ and, one step apart, (1 − ηH) times that. Several outputs, the columns of y,
    have weights that are independent of each other, with means that are the columns.
    """
    hessian = features.T @ features + temperature * np.diag(precisions)
    h, u = np.linalg.eigh(hessian)
    variances = temperature / (h * (1 - step_size * h / 2))
    covariance = (u * variances) @ u.T
    lagged = (u * variances * (1 - step_size * h)) @ u.T
    return np.linalg.solve(hessian, features.T @ y), covariance, lagged


def erf_gram(x: np.ndarray, first_precision: float, last_precision: float) -> np.ndarray:
    """E[f fᵀ] of a one-hidden-layer erf network under its prior (Williams, NIPS 1996, eq. 11)."""
    return erf_dual(x @ x.T / (first_precision * x.shape[1])) / last_precision


def erf_dual(c: np.ndarray) -> np.ndarray:
    """E[erf(u) erf(v)] of each pair of Gaussian numbers of covariance c."""
    diagonal = 1 + 2 * np.diag(c)
    return 2 / np.pi * np.arcsin(2 * c / np.sqrt(np.outer(diagonal, diagonal)))


def nuts(
    model: Callable[[], None],
    *,
    key: jax.Array,
    num_warmup: int,
    num_samples: int,
    num_chains: int,
) -> dict[str, np.ndarray]:
    """Every site of a NumPyro model, (chain, draw, …), sampled by NUTS.

    NumPyro's NUTS implies types, which the tests forbid everywhere else.
    """
    mcmc = MCMC(
        NUTS(model), num_warmup=num_warmup, num_samples=num_samples, num_chains=num_chains,
        chain_method="vectorized", progress_bar=False,
    )  # fmt: skip
    with jax.numpy_dtype_promotion("standard"):
        mcmc.run(key)
    draws = mcmc.get_samples(group_by_chain=True)
    return {name: np.asarray(value) for name, value in draws.items()}


def nuts_one_layer(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    temperature: float,
    *,
    num_warmup: int,
    num_samples: int,
    num_chains: int,
    seed: int,
) -> np.ndarray:
    """Outputs at the test inputs (chain, draw, P_test) of an erf network sampled by NUTS.

    All weights, in a model written with NumPyro's own distributions: y_μ ~ N(f(x_μ), T).
    """
    in_size = data.in_size

    def outputs(first: jax.Array, last: jax.Array, x: np.ndarray) -> jax.Array:
        return erf(x @ first.T / np.sqrt(in_size)) @ last / np.sqrt(width)

    def model() -> None:
        scales = [1 / np.sqrt(precision) for precision in precisions]
        first = numpyro.sample("first", dist.Normal(0, scales[0]).expand([width, in_size]))
        last = numpyro.sample("last", dist.Normal(0, scales[1]).expand([width]))
        f = outputs(first, last, data.x_train)
        numpyro.sample("y", dist.Normal(f, np.sqrt(temperature)), obs=data.y_train)
        numpyro.deterministic("f", outputs(first, last, data.x_test))

    draws = nuts(
        model, key=jax.random.key(seed), num_warmup=num_warmup, num_samples=num_samples,
        num_chains=num_chains,
    )  # fmt: skip
    return draws["f"]


def one_layer_by_importance(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    temperature: float,
    *,
    activation: str = "erf",
    patches: tuple[int, int] | None = None,
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """The exact posterior of one hidden layer, by hidden weights of the prior with their weights.

    With `patches` = (side of the square image, side of a patch, which is the stride, too) the layer
    is a convolutional one of `width` channels. The read-out is integrated out: draws have the
    weight N(y; 0, K_W + T), the Gaussian predictive mean m and variance s at each test input; with
    D outputs the product of these. "mean" and "variance" (of f), "log_evidence" with their standard
    errors "…_error", and the "effective" number of draws.
    """
    rng, batch, size = np.random.default_rng(seed), 2000, data.num_train
    logs, means, variances = [], [], []
    for gram in _grams(data, width, precisions, activation, rng, draws // batch, batch, patches):
        noisy = gram[:, :size, :size] + temperature * np.eye(size)
        both = np.linalg.solve(noisy, gram[:, :size, size:])  # (batch, P, P_test)
        y = data.y_train.reshape(size, -1)
        solved = np.linalg.solve(noisy, np.tile(y, (batch, 1, 1)))
        misfit = np.einsum("bpd,pd->b", solved, y) + y.shape[1] * np.linalg.slogdet(noisy)[1]
        logs.append(-0.5 * misfit - 0.5 * y.size * np.log(2 * np.pi))
        means.append(np.einsum("bpt,p...->bt...", both, data.y_train))
        diagonal = np.einsum("btt->bt", gram[:, size:, size:])
        variances.append(diagonal - np.sum(gram[:, :size, size:] * both, axis=1))
    log, m, s = (np.concatenate(arrays) for arrays in (logs, means, variances))
    s = s.reshape(*s.shape, *(1,) * (m.ndim - 2))
    return weighted(log, m, s + m**2)


def _grams(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    activation: str,
    rng: np.random.Generator,
    num_batches: int,
    batch: int,
    patches: tuple[int, int] | None = None,
) -> Iterator[np.ndarray]:
    """Batches of matrices K_W of networks of the prior, over training and test inputs."""
    x = np.concatenate([data.x_train, data.x_test])
    side, size = patches or (1, 1)
    if patches is not None:  # (image, row of patches, row in a patch, and the same for columns)
        split = x.reshape(len(x), side // size, size, side // size, size)
        x = split.transpose(0, 1, 3, 2, 4).reshape(len(x), (side // size) ** 2, size**2)
    else:
        x = x[:, None]
    points, copies, in_size = x.shape
    x = x.reshape(points * copies, in_size) / np.sqrt(precisions[0] * in_size)
    for _ in range(num_batches):
        weights = rng.standard_normal((batch, width, in_size))
        phi = NUMPY_ACTIVATIONS[activation](weights @ x.T).reshape(batch, width, points, copies)
        phi = np.swapaxes(phi, 2, 3).reshape(batch, width * copies, points)
        yield np.swapaxes(phi, 1, 2) @ phi / (precisions[1] * width * copies)


def representation_by_importance(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    temperature: float,
    *,
    activation: str = "erf",
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Posterior means of Φ = K_W at the training inputs, of its measures and of Q = λ_1 v vᵀ/N_1.

    Hidden weights of the prior have the weights N(y; 0, K_W + T), and given them the read-out is
    Gaussian: E[Q | W] = 1 + (Yᵀ A⁻¹ K_W A⁻¹ Y − Tr K_W A⁻¹)/N_1, A = K_W + T. "gram" (P, P),
    "alignment", "participation_ratio", "order" (D, D), with their standard errors "…_error", and
    the "effective" number of draws.
    """
    rng, batch, size = np.random.default_rng(seed), 2000, data.num_train
    y = data.y_train.reshape(size, -1)
    logs, parts = [], {"gram": [], "alignment": [], "participation_ratio": [], "order": []}
    for both in _grams(data, width, precisions, activation, rng, draws // batch, batch):
        gram = both[:, :size, :size]
        noisy = gram + temperature * np.eye(size)
        a = np.linalg.solve(noisy, np.broadcast_to(y, (batch, *y.shape)))
        traces = np.trace(np.linalg.solve(noisy, gram), axis1=1, axis2=2)
        norm = np.linalg.norm(gram, axis=(1, 2))
        logs.append(
            -0.5 * np.sum(y * a, axis=(1, 2)) - 0.5 * y.shape[1] * np.linalg.slogdet(noisy)[1]
        )
        parts["gram"].append(gram)
        parts["alignment"].append(
            np.einsum("pd,bpq,qd->b", y, gram, y) / (norm * np.linalg.norm(y @ y.T))
        )
        parts["participation_ratio"].append((np.trace(gram, axis1=1, axis2=2) / norm) ** 2)
        explained = np.swapaxes(a, 1, 2) @ gram @ a
        parts["order"].append(
            np.eye(y.shape[1]) * (1 - traces[:, None, None] / width) + explained / width
        )
    log = np.concatenate(logs)
    share = np.exp(log - log.max())
    share /= share.sum()
    result = {"effective": 1 / np.sum(share**2)}
    for name, batches in parts.items():
        values = np.concatenate(batches)
        result[name] = np.tensordot(share, values, 1)
        result[f"{name}_error"] = np.sqrt(
            np.tensordot(share**2, np.square(values - result[name]), 1)
        )
    return result


def unit_by_importance(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    temperature: float,
    direction: np.ndarray,
    powers: tuple[int, ...],
    *,
    activation: str = "erf",
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Posterior means of (dᵀh)ᵏ of one hidden unit, for each power k, in units of √(dᵀC d).

    Hidden weights of the prior have the weights N(y; 0, K_W + T); all units of a layer are averaged
    over. "moments" with "moments_error", and the "effective" number of draws.
    """
    rng, batch = np.random.default_rng(seed), 2000
    x = data.x_train / np.sqrt(precisions[0] * data.in_size)
    scale = np.sqrt(direction @ x @ x.T @ direction)
    logs, moments = [], []
    for _ in range(draws // batch):
        h = rng.standard_normal((batch, width, x.shape[1])) @ x.T
        phi = NUMPY_ACTIVATIONS[activation](h)
        noisy = np.swapaxes(phi, 1, 2) @ phi / (precisions[1] * width)
        noisy += temperature * np.eye(len(x))
        a = np.linalg.solve(noisy, np.broadcast_to(data.y_train[:, None], (batch, len(x), 1)))
        logs.append(-0.5 * (data.y_train @ a[..., 0].T) - 0.5 * np.linalg.slogdet(noisy)[1])
        along = h @ direction / scale
        moments.append(np.stack([np.mean(along**power, axis=1) for power in powers], axis=1))
    log, values = np.concatenate(logs), np.concatenate(moments)
    share = np.exp(log - log.max())
    share /= share.sum()
    mean = share @ values
    error = np.sqrt(share**2 @ np.square(values - mean))
    return {"moments": mean, "moments_error": error, "effective": 1 / np.sum(share**2)}


def weighted(log: np.ndarray, first: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Mean and variance of f, and the log evidence, from ⟨f⟩ and ⟨f²⟩ given draws with weights."""
    likelihood = np.exp(log - log.max())
    share = likelihood / likelihood.sum()
    mean = np.tensordot(share, first, 1)
    square = second - 2 * first * mean + mean**2
    variance = np.tensordot(share, square, 1)

    def error(values: np.ndarray) -> np.ndarray:
        return np.sqrt(np.tensordot(share**2, np.square(values), 1))

    return {
        "mean": mean, "mean_error": error(first - mean), "variance": variance,
        "variance_error": error(square - variance),
        "log_evidence": log.max() + np.log(likelihood.mean()),
        "log_evidence_error": likelihood.std() / likelihood.mean() / np.sqrt(len(log)),
        "effective": 1 / np.sum(share**2),
    }  # fmt: skip


def linear_outputs_by_importance(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    temperature: float,
    *,
    draws: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """The exact posterior of a linear hidden layer with D outputs, by draws of its read-out.

    Given the read-out v (N_1, D) f is Gaussian of covariance S ⊗ K, S = vᵀv/N_1 (Wishart, D × D),
    and draws have the weight N(y; 0, S ⊗ K + T). As `one_layer_by_importance`.
    """
    rng, size, (_, num_outputs) = np.random.default_rng(seed), data.num_train, data.y_train.shape
    x = np.concatenate([data.x_train, data.x_test]) / np.sqrt(np.prod(precisions) * data.in_size)
    whole = x @ x.T
    gram, cross, own = whole[:size, :size], whole[size:, :size], np.diag(whole)[size:]
    k, vectors = np.linalg.eigh(gram)
    y, cross = vectors.T @ data.y_train, cross @ vectors
    v = rng.standard_normal((draws, width, num_outputs))
    s = np.swapaxes(v, 1, 2) @ v / width
    noisy = s[:, None] * k[:, None, None] + temperature * np.eye(num_outputs)  # (n, P, D, D)
    solved = np.linalg.solve(noisy, y[None, :, :, None])[..., 0]
    misfit = np.sum(solved * y, axis=(1, 2)) + np.sum(np.linalg.slogdet(noisy)[1], axis=1)
    log = -0.5 * misfit - 0.5 * y.size * np.log(2 * np.pi)
    first = np.einsum("nde,npe,tp->ntd", s, solved, cross)
    inverse = np.linalg.solve(noisy, np.broadcast_to(s[:, None], noisy.shape))
    taken = np.einsum("nde,nped,tp->ntd", s, inverse, cross**2)
    spread = own[None, :, None] * np.einsum("ndd->nd", s)[:, None, :] - taken
    return weighted(log, first, spread + first**2)


def one_layer_of_loss_by_importance(
    data: Dataset,
    width: int,
    precisions: tuple[float, float],
    potential: Callable[[np.ndarray], np.ndarray],
    centre: np.ndarray,
    spread: np.ndarray,
    *,
    activation: str = "erf",
    draws: int,
    seed: int,
    outputs_of_each: int = 20,
) -> dict[str, np.ndarray]:
    """The exact posterior ∝ exp(−V(f)) of one hidden layer and one output, by importance sampling.

    Hidden weights are of the prior. Given them outputs at the training inputs are N(0, K_W): they
    are drawn from N(centre, diag(spread²)) in place of that, `outputs_of_each` for each network,
    and f at the test inputs is Gaussian given both. `potential` is V of outputs (…, P). As
    `one_layer_by_importance`; "log_evidence" is log E exp(−V).
    """
    rng, batch, size = np.random.default_rng(seed), 1000, data.num_train
    logs, firsts, seconds = [], [], []
    for gram in _grams(data, width, precisions, activation, rng, draws // batch, batch):
        inner, cross = gram[:, :size, :size], gram[:, :size, size:]
        f = centre + spread * rng.standard_normal((batch, outputs_of_each, size))
        both = np.linalg.solve(inner, cross)
        quadratic = np.einsum(
            "bop,bop->bo", f, np.swapaxes(np.linalg.solve(inner, np.swapaxes(f, 1, 2)), 1, 2)
        )
        log = -0.5 * quadratic - 0.5 * np.linalg.slogdet(inner)[1][:, None] - potential(f)
        log += np.sum(0.5 * ((f - centre) / spread) ** 2 + np.log(spread), axis=-1)
        means = np.einsum("bop,bpt->bot", f, both)
        own = np.einsum("btt->bt", gram[:, size:, size:]) - np.sum(cross * both, axis=1)
        top = log.max(axis=1, keepdims=True)
        share = np.exp(log - top)
        norm = share.mean(axis=1)
        logs.append(top[:, 0] + np.log(norm))
        share = share / (outputs_of_each * norm[:, None])
        firsts.append(np.einsum("bo,bot->bt", share, means))
        seconds.append(np.einsum("bo,bot->bt", share, means**2) + own)
    return weighted(*(np.concatenate(arrays) for arrays in (logs, firsts, seconds)))
