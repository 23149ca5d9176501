"""An ensemble over initialisations: averages over gradient flows from draws of the prior.

With f_i(x) of n independent initialisations and f̄ their mean, averages over the test set of
bias² = (y − f̄)² and of the variance Σ_i (f_i − f̄)²/(n − 1). f̄ has the variance's n-th part as an
error, which the plug-in bias² contains and which is subtracted. Standard errors are the jackknife's
over the initialisations.

Rates of wrongly classified examples jump where an output changes its sign, and the jackknife, which
moves f̄ by no more than (f̄ − f_i)/(n − 1), overestimates the error of such a rate: by about n^(1/4)
where the outputs at different test examples are independent. The standard errors of these rates
are the bootstrap's.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from langevin_nn.analysis.generalisation import accuracy_of_the_mean
from langevin_nn.analysis.resampling import independent_mean, jackknife
from langevin_nn.data.labels import is_right
from langevin_nn.training.gradient_flow import Flow
from langevin_nn.types import Estimate, Generalisation, InputError
from langevin_nn.values import require_kind

__all__ = ["ClassificationErrors", "classification_errors", "summarise_flow"]

RESAMPLES = 400
"""The number of resamples of the bootstrap: an error of 4 % of the standard errors."""


@dataclass(frozen=True)
class ClassificationErrors:
    """Fractions of the test set that are classified wrongly; made by `classification_errors`.

    `single` is ⟨err⟩, the mean over n networks, `ensemble` the error of their mean output f̄, and
    `difference` is ⟨err⟩ − err_ensemble, the gain of averaging. Their standard errors are those of
    the choice of the initialisations, with the test set as it is. `over_test_set` has the standard
    errors of the three from the choice of the test examples, with the networks as they are: add
    squares for another test set. It is shared by all flows with the same test set, so that it
    does not count when these are compared with each other.
    """

    single: Estimate
    ensemble: Estimate
    difference: Estimate
    over_test_set: tuple[float, float, float]


def summarise_flow(flow: Flow, name: str = "flow") -> Generalisation:
    """Bias², variance, errors and accuracy of the mean predictor over the initialisations.

    Raises `InputError` for fewer than three initialisations, whose variance has no error.

    >>> data = lnn.load_dataset("digits", num_train=10, num_test=20, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (50,), key=key, dtype=jnp.float64)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> found = lnn.summarise_flow(lnn.gradient_flow(posterior, key=key, num_initialisations=8))
    >>> found.converged, bool(found.train_error.value < 1e-6)
    (True, True)
    """
    num_networks = _num_networks(flow)
    outputs = flow.test_outputs.astype(np.float64)
    f, y = outputs.reshape(num_networks, -1), flow.y_test.ravel()
    num_test = len(flow.y_test)
    train = np.square(flow.y_train - flow.train_outputs.astype(np.float64))
    train_errors = train.reshape(num_networks, -1).sum(axis=1) / len(flow.y_train)

    one_output = flow.y_test.ndim == 1

    def numbers(chosen: Int[np.ndarray, " m"]) -> dict[str, float]:
        mean = f[chosen].mean(axis=0)
        variance = float(f[chosen].var(axis=0, ddof=1).sum() / num_test)
        plug_in = float(np.square(y - mean).sum() / num_test)
        values = {"bias2": plug_in - variance / len(chosen), "variance": variance}
        if not one_output:
            right = is_right(mean.reshape(flow.y_test.shape), flow.y_test, flow.targets_midpoint)
            values["test_accuracy"] = float(np.mean(right))
        return values

    errors = np.square(y - f).sum(axis=1) / num_test
    estimates = jackknife(numbers, num_networks)
    if one_output:
        error = f.std(axis=0, ddof=1) / np.sqrt(num_networks)
        estimates["test_accuracy"] = accuracy_of_the_mean(
            y, f.mean(axis=0), error, flow.targets_midpoint
        )
    return Generalisation(
        name=name,
        predictive_mean=outputs.mean(axis=0),
        predictive_variance=outputs.var(axis=0, ddof=1),
        bias2=estimates["bias2"],
        variance=estimates["variance"],
        generalisation_error=independent_mean(errors),
        train_error=independent_mean(train_errors),
        test_accuracy=estimates["test_accuracy"],
        converged=flow.converged,
        message=flow.message,
    )


def classification_errors(flow: Flow) -> ClassificationErrors:
    """Error rates of single networks and of their mean output, and the difference.

    An example is wrong where f is not strictly on its target's side of the targets' midpoint, or
    with several outputs where no single largest of f is the largest of its targets: ties are wrong,
    as in every accuracy (`langevin_nn.data.labels.is_right`). The ensemble has n networks: its
    error still falls with n where ⟨‖f − f̄‖²⟩/n is not small.

    Raises `InputError` for fewer than three initialisations.

    >>> data = lnn.load_dataset("digits", num_train=10, num_test=20, key=key)
    >>> network = lnn.FullyConnected(data.in_size, (50,), key=key, dtype=jnp.float64)
    >>> posterior = lnn.GibbsPosterior(network, lnn.GaussianPrior((1.0, 1.0)), data, 0.1)
    >>> flow = lnn.gradient_flow(posterior, key=key, num_initialisations=8)
    >>> found = lnn.classification_errors(flow)
    >>> gain = found.single.value - found.ensemble.value
    >>> abs(found.difference.value - gain) < 1e-12
    True
    """
    num_networks, num_test = _num_networks(flow), len(flow.y_test)
    outputs = flow.test_outputs.astype(np.float64)
    f = outputs.reshape(num_networks, -1)

    def is_wrong(f: Float[np.ndarray, "m K"]) -> np.ndarray:
        return ~is_right(f.reshape(-1, *flow.y_test.shape), flow.y_test, flow.targets_midpoint)

    wrong = is_wrong(f)  # (n, P_test)
    single_wrong, ensemble_wrong = wrong.mean(axis=0), is_wrong(f.mean(axis=0)[None])[0]
    wrong_counts = wrong.sum(axis=1)  # whole numbers, whose mean has no rounding
    counts = np.random.default_rng(0).multinomial(
        num_networks, np.ones(num_networks) / num_networks, RESAMPLES
    )
    single = (counts @ wrong_counts) / (num_networks * num_test)
    ensemble = is_wrong(counts @ f / num_networks).mean(axis=1)

    def estimate(value: float, resampled: Float[np.ndarray, " B"]) -> Estimate:
        # n networks drawn from n have the variance of n − 1
        return Estimate(value, float(resampled.std() * np.sqrt(num_networks / (num_networks - 1))))

    errors = [
        indicator.std() / np.sqrt(num_test)
        for indicator in (single_wrong, ensemble_wrong, single_wrong - ensemble_wrong)
    ]
    return ClassificationErrors(
        single=Estimate(
            float(wrong_counts.mean() / num_test),
            float(wrong_counts.std(ddof=1) / np.sqrt(num_networks) / num_test),
        ),
        ensemble=estimate(float(ensemble_wrong.mean()), ensemble),
        difference=estimate(float(single_wrong.mean() - ensemble_wrong.mean()), single - ensemble),
        over_test_set=(float(errors[0]), float(errors[1]), float(errors[2])),
    )


def _num_networks(flow: Flow) -> int:
    """The number of initialisations; `InputError` for fewer than three and for what is no flow."""
    require_kind("flow", flow, Flow, "gradient_flow(posterior, key=…)")
    num_networks = len(flow.test_outputs)
    if num_networks < 3:
        raise InputError(
            f"an ensemble needs three initialisations at least, got {num_networks}: write a larger "
            "num_initialisations"
        )
    return num_networks
