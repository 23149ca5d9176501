"""Arguments of the wrong kind, in every public function: an `InputError` of one line.

FAULTS 5: swapped arguments, None, numbers, text and lists in their place ended deep inside in an
AttributeError or a TypeError, and words for Booleans, masked arrays or sets were taken. In a
process of its own, where beartype does not refuse them first.
"""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROGRAM = """
import dataclasses, inspect, tempfile, warnings
import jax, numpy as np
import jax.numpy as jnp
import langevin_nn as lnn
from langevin_nn.training.gradient_flow import Flow

jax.config.update("jax_enable_x64", True)
theory, key, rng = lnn.theory, jax.random.key(0), np.random.default_rng(0)
x, y = rng.standard_normal((4, 3)), np.array([1.0, -1.0, 1.0, -1.0])
data = lnn.Dataset("d", x, y, x, y)
network = lnn.FullyConnected(3, (2,), key=key, dtype=np.float64)
prior = lnn.GaussianPrior((1.0, 1.0))
posterior = lnn.GibbsPosterior(network, prior, data, 0.5)
spec, erf = posterior.spec, lnn.activation("erf")
two = tuple(jnp.ones((2, *w.shape)) for w in network.weights)
params = posterior.sample_prior(key, 1)
masked = np.ma.masked_equal([1.0, 2.0], 2.0)

RECORD = (None, 5, "x", [1], {"a": 1}, object(), spec, data, posterior, lnn.Langevin)
OBJECT = (None, 5, "x", [1], {"a": 1}, object(), lnn.Langevin)
NUMBER = (None, "1", True, [1.0], object(), np.nan, masked, np.array("1"), jnp.array(True))
POSITIVE = (*NUMBER, 0, -1.0, np.inf, np.float32(-1), jnp.array(-1.0), jnp.array(np.nan))
COUNT = (None, "1", True, [1], 0, 2.5)
FLAG = (None, 1, "no", [], np.ones(2))
TEXT = (None, 5, [1], {"a": 1})
ARRAY = (None, "x", {"a": 1}, masked, object())
PATH = (5, [1], b"x", "a\\0b", object())


def without(values, *allowed):
    return tuple(value for value in values if not any(value is other for other in allowed))


table = []


def check(function, wrong, /, **good):
    table.append((function, wrong, good))


ensemble = posterior.ensemble
sweeps = {"ensemble": RECORD}
on = {"ensemble": ensemble}
for name in ("infinite_width", "one_layer", "one_layer_nonodd", "nested", "global_",
             "multi_output", "scale_mixture", "width_expansion", "matched", "mean_field", "cavity",
             "propagation", "adaptive"):
    check(getattr(theory, name), sweeps, **on)
check(theory.one_layer, dict.fromkeys(
    ("width", "readout_precision", "temperature"), ("1", True, masked, object())), **on)
for name, counts in (("matched", COUNT), ("cavity", COUNT), ("mean_field", COUNT[1:]),
                     ("propagation", COUNT[1:])):
    check(getattr(theory, name), {"num_units": counts}, **on)
check(theory.adaptive, {"num_units": COUNT, "num_layers": COUNT[1:]}, **on)
check(theory.convolutional, sweeps, **on)
check(theory.evidence, sweeps | {"theory": OBJECT}, **on)
check(theory.maximise_evidence, sweeps | {
    "fields": (None, 5, [], "x", "posterior.temperature[0]", [5], {"posterior.temperature"}),
    "theory": OBJECT[1:], "num_starts": COUNT,
    "bounds": (None, 5, "12", (1.0,), (0.0, 1.0), (2.0, 1.0), (1.0, np.inf), ("1", 2.0))},
    **on, fields="posterior.temperature")
check(theory.predict, sweeps | {"names": (5, [1], "x", "", {"a": 1}, object())}, **on)
check(theory.predictive_distribution, sweeps | {"x": (*ARRAY, [1.0], 5), "theory": OBJECT},
      **on, x=x)
for name in ("gram_blocks", "gram_regression", "order_parameter_distribution"):
    check(getattr(theory, name), sweeps, **on)
check(theory.infinite_width_flow, sweeps | {"time": NUMBER, "centred": FLAG}, **on)
check(theory.support_vectors, sweeps, **on)
check(theory.kernel_flow, sweeps | {"loss": RECORD}, **on, loss=lnn.Logistic())
for name in ("nngp", "ntk", "patch_gram"):
    check(getattr(theory, name), {"spec": without(RECORD, spec), "x": ARRAY}, spec=spec, x=x)
check(theory.feature_moments, {"activation": OBJECT}, activation=erf)
features = {"activation": erf, "features": 2.0, "examples": 3.0, "temperature": 0.1}
numbers = dict.fromkeys(("features", "temperature", "precision", "noise_variance",
                         "linear_power", "nonlinear_power"), NUMBER)
check(theory.random_feature_error, numbers | {"activation": OBJECT}, **features)
check(theory.random_feature_decomposition, {"num_ensemble": NUMBER, "num_noise": NUMBER},
      **features)
check(theory.feature_spectrum, {"features": NUMBER, "examples": NUMBER, "activation": OBJECT},
      activation=erf, features=2.0, examples=3.0)

check(lnn.Activation, {"name": TEXT, "function": OBJECT, "dual": OBJECT, "odd": FLAG},
      name="mine", function=jnp.tanh, dual=lambda a, b, c: c, odd=True)
check(lnn.Dataset, {"name": TEXT, "labelling": TEXT, "provenance": (None, "x", 5, [1]),
                    "image_shape": ("x", 5, [1], masked),
                    "class_targets": ("12", 1.0, ("-1", "1"))},
      name="d", x_train=x, y_train=y, x_test=x, y_test=y)
check(lnn.EnsembleSpec, {"activation": OBJECT[1:], "architecture": TEXT, "loss": TEXT,
                         "patches": OBJECT[1:], "bias_precisions": ((), "", {1.0}, masked),
                         "prior_precisions": ({1.0, 2.0}, {1.0: 2.0}, masked)},
      in_size=3, hidden_widths=(2,), activation=erf, prior_precisions=(1.0, 1.0), temperature=0.1)
check(lnn.Ensemble, {"spec": without(RECORD, spec), "data": without(RECORD, data),
                     "origin": OBJECT[1:]}, spec=spec, data=data)
check(posterior.ensemble.at, {"temperature": (-1.0, "1", None), "width": (5,), "loss": TEXT})
for each in (ensemble, spec):
    check(each.at_richness, {"richness": POSITIVE}, richness=0.5)
check(lnn.at_richness, {"richness": POSITIVE, "network": without(RECORD, network), "prior": RECORD,
                        "temperature": (*NUMBER, -1.0, np.inf)},
      richness=0.5, network=network, prior=prior, temperature=0.5)
check(lnn.FullyConnected, {"biases": FLAG, "dtype": (None, "x", 5, object()), "num_outputs": COUNT},
      in_size=3, hidden_widths=(2,), key=key)
check(lnn.Patches, {"image_shape": (None, 5, "123", [1], (4, 4, 1.0)), "size": COUNT,
                    "stride": COUNT}, image_shape=(4, 4, 1), size=2, stride=2)
check(lnn.Convolutional, {"biases": FLAG, "num_channels": COUNT}, num_channels=2, key=key,
      patches=lnn.Patches((4, 4, 1), 2, 2))
check(lnn.GaussianPrior, {"precisions": ({1.0, 2.0}, {1.0: 2.0}, masked)}, precisions=(1.0,))
check(lnn.Split, dict.fromkeys(
    ("step_size", "trajectory_length"), POSITIVE[1:]) | dict.fromkeys(
    ("refresh", "target_acceptance"), (*POSITIVE, 1.5, jnp.array(1.5))))
check(lnn.Langevin, {"step_size": POSITIVE[1:]})
check(lnn.Hinge, {"power": (*COUNT, 3), "margin": POSITIVE})
check(lnn.Estimate, {"value": without(NUMBER, np.nan), "mcse": (*without(NUMBER, np.nan), -0.1)},
      value=1.0)
check(lnn.Generalisation, dict.fromkeys(
    ("bias2", "variance", "generalisation_error", "train_error", "test_accuracy"), OBJECT)
    | {"name": TEXT}, name="mine", predictive_mean=y, predictive_variance=y,
    **dict.fromkeys(("bias2", "variance", "generalisation_error", "train_error", "test_accuracy"),
                    lnn.Estimate(1.0)))



def own_theory(**changes):
    numbers = dataclasses.replace(theory.infinite_width(ensemble), **changes)
    return lnn.Theory("own", lambda ensemble: numbers)(ensemble)


check(own_theory, {"message": TEXT, "converged": FLAG, "order_parameters": OBJECT[:3],
                   "log_evidence": without(NUMBER, None, np.nan)})
check(lnn.Theory, {"name": TEXT, "function": OBJECT, "domain": OBJECT, "twin": OBJECT,
                   "at_points": OBJECT[1:], "needs": OBJECT, "style": without(OBJECT, {"a": 1})},
      name="own", function=lambda ensemble: ensemble)
check(theory.Solution, {"generalisation": OBJECT, "covariance": OBJECT[1:], "mixture": OBJECT[1:],
                        "kernels": OBJECT[1:], "units": OBJECT[1:]},
      generalisation=theory.infinite_width(ensemble))
units = theory.UnitSample(np.eye(2), np.full(2, 0.5), np.eye(2))
along = {"direction": (*ARRAY, np.ones(3), np.full(2, np.nan), 1.0)}
check(units.along, along, direction=np.ones(2))
check(units.moment, along | {"power": COUNT}, direction=np.ones(2), power=2)
check(units.density, along | {"edges": (*ARRAY, 1.0, np.ones(1), np.ones(2), np.eye(2))},
      direction=np.ones(2), edges=np.arange(3.0))
for function in (lnn.GibbsPosterior, lnn.MarginalisedPosterior):
    check(function, {"temperature": (*POSITIVE, 1e400), "prior": OBJECT, "data": OBJECT},
          network=network, prior=prior, data=data, temperature=0.5)
check(posterior.at_temperature, {"temperature": POSITIVE}, temperature=0.5)
check(lnn.RandomFeatures, {"in_size": COUNT, "width": COUNT, "centred": FLAG},
      in_size=3, width=2, key=key)
check(lnn.feature_ensemble, {"data": without(RECORD, data), "ridge": NUMBER, "shared_noise": FLAG,
                             "noise_variance": NUMBER, "centred": FLAG},
      data=data, width=2, key=key, ridge=0.1, num_ensemble=1)
loaded = {"key": key, "num_train": 4, "num_test": 4}
check(lnn.load_dataset, {"source": OBJECT, "num_train": COUNT[1:], "standardize": FLAG,
                         "colour": FLAG, "noise_variance": NUMBER,
                         "targets": (("-1", "1"), (True, False), {-1.0, 1.0}, "x", 5),
                         "classes": ({0, 1}, "01", 5)}, source="digits", **loaded)
check(lnn.load_dataset, {"in_size": COUNT, "teacher_width": COUNT, "noise_variance": NUMBER,
                         "classes": (5,)}, source="teacher_linear", **loaded)
check(lnn.load_dataset, {"path": PATH}, source="npz", **loaded)
check(lnn.load_dataset, {"folder": PATH}, source="mnist", **loaded)

saving = {"checkpoint": PATH, "resume": FLAG, "progress": (5, "x", [], lnn.Langevin),
          "keep_weights": (*PATH, ".", "none/w.npy")}
check(lnn.sample, saving, posterior=posterior, dynamics=lnn.Langevin(), key=key, num_samples=4)
check(lnn.temper, saving | {"until": (0.01, "x", lnn.TargetError, lnn.Split())},
      posterior=posterior, dynamics=lnn.Langevin(), temperatures=(1.0,), key=key)
check(lnn.TargetError, {
    "relative": (None, 0.0, -1, 2.0, "0.01", {"bias": 0.1}, {"bias2": "x"}, {"bias2": 0}, {1: 1.0}),
    "absolute": (5, "x", {"f": 0.1}, {"variance": -1.0}), "max_draws": COUNT,
    "max_seconds": NUMBER[1:]})
check(lnn.sample_points, {"keep_weights": (*PATH, "x", [], [None, None])},
      posteriors=[posterior], dynamics=lnn.Langevin(), keys=[key], num_samples=4)
check(lnn.numpyro_model, {"posterior": without(RECORD, posterior), "test_outputs": FLAG},
      posterior=posterior)
check(lnn.NumPyroKernel, {"target": without(OBJECT) + (network, data),
                          "steps_per_sample": COUNT[1:]}, dynamics=lnn.Split(),
      target=posterior)
flows = dict.fromkeys(("output_scale", "gradient_tolerance", "loss_tolerance", "fitted_fraction",
                       "max_time", "rtol", "atol"), NUMBER[1:])
check(lnn.gradient_flow, flows | {"solver": OBJECT, "max_steps": COUNT}, posterior=posterior,
      key=key)
weights = (*OBJECT, network, (1.0,), (params[0],) if isinstance(params, tuple) else params.weights)
for function in (lnn.hessian, lnn.tangent_kernel, lnn.effective_parameters, lnn.find_minimum):
    check(function, {"posterior": without(RECORD, posterior), "params": weights},
          posterior=posterior, params=params)
check(lnn.effective_parameters, {"tolerance": NUMBER}, posterior=posterior, params=params)
check(lnn.spectral_density, {"posterior": without(RECORD, posterior), "params": weights,
                             "key": RECORD, "part": OBJECT, "num_probes": COUNT,
                             "num_steps": COUNT}, posterior=posterior, params=params, key=key)
check(lnn.kernel_alignment, {"kernel": ARRAY, "labels": ARRAY, "num_components": COUNT},
      kernel=np.eye(4)[None], labels=y, num_components=2)
estimates = [lnn.Estimate(value, 0.1) for value in (1.0, 2.0, 4.0)]
check(lnn.power_law, {"x": ARRAY, "y": (None, 5, "xyz", [1, 2, 3], {"a": 1})},
      x=[1.0, 2.0, 3.0], y=estimates)
check(lnn.error_parts, {"predictions": ARRAY, "y_test": ARRAY}, predictions=x, y_test=y)
check(lnn.averaging, {"outputs": ARRAY, "y_test": ARRAY, "length": COUNT[1:], "midpoint": NUMBER},
      outputs=np.ones((3, 2, 4)), y_test=y)
check(lnn.classification_errors, {"flow": RECORD}, flow=None)
check(lnn.summarise_flow, {"flow": RECORD}, flow=None)
check(lnn.summarise_ladder, {"ladder": RECORD}, ladder=None, key=key)
check(lnn.summarise, {"chains": RECORD, "name": TEXT}, chains=None)
chains = lnn.sample(posterior, lnn.Langevin(), key=key, num_chains=2, num_warmup=1, num_samples=4,
                    thinning=1)
rule = lnn.TargetError(0.1)
check(rule.first_look, {"num_chains": COUNT})
check(rule.draws_needed, {"chains": RECORD})
check(rule.shortfall, {"measured": RECORD}, chains=chains)
check(chains.first, {"num_draws": (*COUNT, 5)}, num_draws=3)
check(chains.to_arviz, {"theories": (5, "x", [1], [None], chains, {"a": 1})}, theories=())
for function in (lnn.collect, lnn.report, lnn.load_run):
    check(function, {"path": (None, *PATH)}, path=None)
config = {"data": {"source": "teacher_linear"}}
check(lnn.report, {"output": PATH}, path="none")
check(lnn.export, {"path": (None, *PATH), "output": PATH, "format": (5, True, [], "xls")},
      path="none")
check(lnn.sweep, {"config": (None, *PATH), "over": (5, "x", [1], object()), "output": (None, *PATH),
                  "executor": OBJECT[1:], "workers": COUNT[1:], "slurm": (5, "x", [1], object()),
                  "theory_only": FLAG},
      config=config, over={"seed": [1]}, output="nowhere")
folder = tempfile.TemporaryDirectory()
small = {"num_chains": 2, "num_warmup": 1, "num_samples": 4, "thinning": 1, "keep_weights": True}
small = {"theory": [], "sampler": small, "network": {"hidden_widths": [2]},
         "data": {"source": "teacher_linear", "in_size": 3, "num_train": 4, "num_test": 4}}
swept = lnn.sweep(small, {"seed": [1]}, output=folder.name)
loaded_run = lnn.load_run(f"{folder.name}/points/{swept.point.item()}")
PLACE = (*without(COUNT, 0), -5, 4)
check(loaded_run.network, {"chain": (*PLACE, 2), "draw": PLACE, "rung": (*PLACE, 1)},
      chain=0, draw=0)
check(lnn.config.from_dict, {"values": (None, 5, "x", [1])}, values={})
check(lnn.config.load, {"path": (None, *PATH)}, path="x")

check(posterior.sample_prior, {"key": RECORD, "num_chains": COUNT}, key=key, num_chains=2)
check(lnn.RandomFeatures(3, 2, key=key).regress, {"data": without(RECORD, data)}, data=data)
for function in (lnn.plotting.plot_along, lnn.plotting.plot_deviation_map):
    check(function, {"results": RECORD}, ax=None, results=None, quantity="bias2",
          **{"along": "seed"} if function is lnn.plotting.plot_along
          else {"theory": "one_layer", "x": "seed", "y": "seed"})
check(lnn.plotting.over_seeds, {"results": RECORD}, results=None, quantity="bias2")
check(lnn.plotting.grid_figures, {"results": RECORD}, results=None)

NUMBERS = (*ARRAY, np.nan, [1.0, np.nan], True, "1")
TEMPERATURE = without((*NUMBER, -1.0, np.inf), masked) + (masked,)
SCALE = tuple(value for value in TEMPERATURE if not isinstance(value, list))
Q = (None, "1", True, object(), masked, np.array("1"), -1.0, 0.0, [1.0, -1.0])
random_features = lnn.RandomFeatures(3, 2, key=key)
inputs = (*NUMBERS, x[0], x[:, :2], np.full((4, 3), np.nan), 1.0)
check(random_features.__call__, {"x": inputs}, x=x)
check(random_features.task, {"data": without(RECORD, data)}, data=data)
check(lnn.RandomFeatures.of, {"network": (*OBJECT, data)}, network=network)
regressed = random_features.regress(data)
targets = (*ARRAY[1:], np.ones(3), np.full(4, np.nan), 1.0, [1.0], "1")
for name in ("mean", "train_mean", "weights", "readout"):
    check(getattr(regressed, name), {"ridge": (*NUMBER, -0.1), "targets": targets}, ridge=0.1)
check(regressed.variance, {"ridge": POSITIVE, "temperature": (*NUMBER, -1.0)},
      ridge=0.1, temperature=0.1)
distribution = theory.predictive_distribution(ensemble, x)
check(distribution.density, {"f": NUMBERS}, f=0.5)
check(distribution.probability_above, {"threshold": (*NUMBER, [0.0, 1.0], np.zeros(2))},
      threshold=0.0)
check(theory.order_parameter_distribution(ensemble).moment, {"power": (*NUMBER, "2")}, power=1)
spectrum = theory.feature_spectrum(erf, 2.0, 3.0)
check(spectrum.resolvent, {"z": (*NUMBERS, complex(0, np.nan), np.full((2, 2), 1j), 0.5)}, z=1j)
check(spectrum.density, {"eigenvalues": (*NUMBERS, np.ones((2, 2))), "broadening": POSITIVE},
      eigenvalues=0.5)
regression = theory.gram_regression(ensemble)
for name in ("mean", "variance", "train_error"):
    check(getattr(regression, name), {"temperature": (*SCALE, np.ones((2, 2))),
                                      "scale": (*Q, np.ones(3))},
          temperature=np.ones(2), scale=1.0)
check(regression.scaled, {"factor": POSITIVE}, factor=2.0)
for name in ("criterion_at", "resolved"):
    check(getattr(regression, name), {"temperature": TEMPERATURE}, temperature=0.1)
check(regression.check_temperature, {"temperature": SCALE}, temperature=0.1)
check(regression.reach, {"temperature": TEMPERATURE, "scale": (*Q, np.ones((2, 2)))},
      temperature=1.0, scale=1.0)
check(regression.sensitivity, {"temperature": TEMPERATURE, "scales": (*Q, np.ones(3)),
                               "weights": (*SCALE, np.ones(3))},
      temperature=1.0, scales=np.ones(2), weights=np.ones(2))
own = theory.THEORIES["one_layer"]
check(own.__call__, sweeps, **on)
check(own.solve, sweeps, **on)
check(own.applies, sweeps, **on)
landscape = lnn.hessian(posterior, posterior.sample_prior(key, 1))
check(landscape.rank, {"tolerance": (*NUMBER, -1.0)})
eigenvalues = lnn.spectral_density(posterior, posterior.sample_prior(key, 1), key=key, num_steps=4)
check(eigenvalues.moment, {"order": (*NUMBER, -1, 0.5)}, order=1)
check(eigenvalues.count_above, {"threshold": NUMBER}, threshold=0.0)
law = lnn.power_law([1.0, 2.0, 3.0], estimates)
check(law.__call__, {"x": (*NUMBERS, 0.0, -1.0)}, x=2.0)
check(type(law), {"exponent": OBJECT, "prefactor": OBJECT}, exponent=estimates[0],
      prefactor=estimates[0], chi2=1.0)

image = lnn.Convolutional(lnn.Patches((2, 2, 1), 1, 1), 3, key=key)
for made, size in ((network, 3), (image, 4)):
    one = (None, "x", [1.0] * size, 1.0, np.ones(2), np.ones(5), np.ones((1, size)), object())
    rows = (*one[:-2], np.ones(size), np.ones((2, 5)), np.ones((2, 2)), np.full((2, size), "x"))
    check(made.__call__, {"x": one}, x=np.ones(size))
    for name in ("batch", "features"):
        check(getattr(made, name), {"x": rows}, x=np.ones((2, size)))
    if made is network:
        check(made.hidden_features, {"x": rows}, x=np.ones((2, size)))
several = posterior.networks(posterior.sample_prior(key, 2))  # gave f of the first one alone
check(several.__call__, {"x": (np.ones(several.weights[0].shape[-1]),)}, x=None)
Z = (None, "x", [1.0], object(), np.array("1"), True)
check(erf.__call__, {"z": Z}, z=y)
check(erf.derivative_dual, dict.fromkeys("abc", Z), a=1.0, b=1.0, c=0.5)
check(lnn.Squared().check, {"targets": ARRAY}, targets=y)
check(lnn.Logistic().check, {"targets": ARRAY}, targets=y)
for loss in (lnn.Squared(), lnn.Hinge(), lnn.Logistic()):
    check(loss.__call__, {"f": Z, "y": (*Z, np.ones(3), np.ones((2, 4)))}, f=y, y=y)
check(lnn.Hinge().check, {"targets": (*ARRAY, 5.0, x)}, targets=y)
marginalised = lnn.MarginalisedPosterior(network, prior, data, 0.5)
check(lnn.MarginalisedPosterior.of, {"posterior": without(RECORD, posterior)}, posterior=posterior)
keys = (None, 5, "x", key, jax.random.split(key, 3), [key, key])
for of in (posterior, marginalised):
    params, other = of.sample_prior(key, 2), lnn.GibbsPosterior(
        lnn.FullyConnected(3, (5,), key=key, dtype=np.float64), prior, data, 0.5)
    both = {"params": params, "keys": jax.random.split(key, 2)}
    weights = (None, 5, "x", params.weights, data, of, network, other.sample_prior(key, 2))
    for name in ("networks", "misfit", "squared_errors", "data_energy", "energy_variance", "energy",
                 "potential"):
        check(getattr(of, name), {"params": weights}, params=params)
    for name in ("predictions", "record", "lifted_networks"):
        check(getattr(of, name), {"params": weights, "keys": keys}, **both)
    check(of.at_temperature, {"temperature": POSITIVE}, temperature=0.5)
    check(of.sample_prior, {"key": RECORD, "num_chains": COUNT}, key=key, num_chains=2)
for name in ("train_outputs", "residuals"):
    check(getattr(posterior, name), {"params": weights}, params=posterior.sample_prior(key, 2))
check(posterior.test_outputs, {"params": weights, "keys": keys},
      params=posterior.sample_prior(key, 2), keys=jax.random.split(key, 2))
check(marginalised.regression, {"params": weights}, params=params)
check(prior.sample, {"key": RECORD, "params": (None, 5, "x", [1.0, 2.0], [y]),
                     "num_chains": COUNT}, key=key, params=[y, y], num_chains=2)
check(prior.energy, {"params": (None, 5, "x", [1.0, 2.0], [x])}, params=[x, x])
check(prior.check, {"network": (None, 5, "x", [y])}, network=network)

# Of float32, which has no number for them: neither ∞ nor a warning of NumPy.
warnings.simplefilter("error", RuntimeWarning)
narrow = lnn.FullyConnected(3, (2,), key=key, dtype=np.float32)
for kind in (lnn.GibbsPosterior, lnn.MarginalisedPosterior):
    cold = kind(narrow, prior, data, 0.5)
    check(cold.at_temperature, {"temperature": (1e39, 1e-39, 1e-300)}, temperature=0.5)
    check(lnn.temper, {"temperatures": ((1e39,), [1.0, 1e300], (1e-300,), (np.nan,), "12", None)},
          posterior=cold, dynamics=lnn.Split(), temperatures=(1.0,), key=key)

# Methods with arguments of all that the public names are, and of what is made of them above.
# What is for the package's own functions.
INNER = {"caption", "from_config", "of_each", "once", "outputs_at", "record_along", "reduced",
         "sizes", "with_inputs", "with_outputs", "preactivations", "residual"}
# For NumPyro and the engine.
MADE = (lnn.NumPyroKernel, lnn.Dynamics, lnn.Langevin, lnn.Split, lnn.Diverged)
classes, covered = set(), set()
for function, _, _ in table:
    owner = getattr(function, "__self__", None)
    if owner is not None:
        owner = owner if isinstance(owner, type) else type(owner)
        classes.add(owner)
        covered.add((owner, function.__name__))
for module in (lnn, theory):
    public = [getattr(module, name) for name in module.__all__]
    classes.update(each for each in public if isinstance(each, type) and each not in MADE)
for each in classes:
    for name in dir(each):
        method = inspect.getattr_static(each, name)
        method = getattr(method, "__func__", getattr(method, "method", method))
        if not inspect.isfunction(method) or "langevin_nn" not in method.__module__:
            continue
        if name in INNER or (name.startswith("_") and name != "__call__"):
            continue
        if len(inspect.signature(method).parameters) > 1:
            assert any(issubclass(each, owner) or issubclass(owner, each)
                       for owner, given in covered if given == name), (each, name)

number = 0
for function, wrong, good in table:
    for name, values in wrong.items():
        for value in values:
            number += 1
            what = f"{function.__name__}({name}={value!r:.60})"
            try:
                function(**good | {name: value})
            except lnn.InputError as error:
                assert "\\n" not in str(error) and len(str(error)) < 500, (what, str(error))
            except Exception as error:
                raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
            else:
                raise AssertionError(f"{what} was taken")
for swapped in (theory.one_layer, theory.evidence, theory.predict, theory.gram_regression):
    try:
        swapped(spec)
    except lnn.InputError as error:
        assert "an Ensemble, got EnsembleSpec: write posterior.ensemble" in str(error), error
one = theory.predict(ensemble, "infinite_width")  # one name is a name
assert list(one.results) == ["infinite_width"]
print(number)
"""


@pytest.mark.slow
def test_arguments_of_the_wrong_kind_are_refused_in_one_line():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 1800
