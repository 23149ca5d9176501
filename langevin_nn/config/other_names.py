"""Names that other programs have for fields, where the nearest spelling would mislead."""

from collections.abc import Collection

from langevin_nn.values import nearest

__all__ = ["nearest_field"]

OTHER_NAMES = {
    **dict.fromkeys(("num_draws", "draws", "num_iterations", "iterations"), "sampler.num_samples"),
    **dict.fromkeys(("burn_in", "burnin", "num_burnin"), "sampler.num_warmup"),
    **dict.fromkeys(("lr", "learning_rate", "eta", "epsilon"), "sampler.step_size"),
    **dict.fromkeys(("T", "temp"), "posterior.temperature"),
    **dict.fromkeys(("gamma", "gamma_0", "gamma0", "feature_strength"), "posterior.richness"),
    **dict.fromkeys(("lambda", "lambdas", "weight_decay"), "prior.precisions"),
    **dict.fromkeys(("depth", "layers", "num_layers", "N"), "network.hidden_widths"),
    "network.type": "network.architecture",
    **dict.fromkeys(("data.P", "data.n", "num_examples", "data.num_samples"), "data.num_train"),
    **dict.fromkeys(("N_0", "num_features", "input_size", "dim"), "data.in_size"),
    **dict.fromkeys(("noise", "label_noise"), "data.noise_variance"),
    **dict.fromkeys(("file", "filename"), "data.path"),
    "dataset": "data.source",
}
"""Fields by other names for them, the last part of a dotted name or the whole of it."""

INVERSES = {
    **dict.fromkeys(("beta", "inverse_temperature"), "posterior.temperature"),
    **dict.fromkeys(("prior.variance", "prior.variances", "prior_variances"), "prior.precisions"),
}
"""Fields of which other programs have the inverse, by the name of that."""


def nearest_field(name: str, valid: Collection[str]) -> str:
    """A hint `; did you mean "…"?`, or nothing where neither a spelling nor a meaning is near.

    >>> nearest_field("sampler.num_draws", ["sampler.max_draws", "sampler.num_samples"])
    '; did you mean "sampler.num_samples"?'
    >>> nearest_field("posterior.beta", ["posterior.temperature"])
    '; did you mean "posterior.temperature", which is 1/beta?'
    """
    last = name.rpartition(".")[2]
    if (field := OTHER_NAMES.get(name, OTHER_NAMES.get(last))) in valid:
        return f'; did you mean "{field}"?'
    if (field := INVERSES.get(name, INVERSES.get(last))) in valid:
        return f'; did you mean "{field}", which is 1/{last}?'
    return nearest(name, valid)
