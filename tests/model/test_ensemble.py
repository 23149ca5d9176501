"""What a posterior tells the theories: its spec, and the data as they were given."""

import pickle
from functools import partial

import cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import gaussian_task

import langevin_nn as lnn

KEY = jax.random.key(0)
DATA, OTHER = (gaussian_task(6, 4, 8, seed=seed) for seed in (1, 2))
posterior_of = partial(
    cases.posterior_of, precisions=(1.0, 2.0), temperature=0.5, key=KEY, dtype=jnp.float32
)


@pytest.mark.parametrize("kind", [lnn.GibbsPosterior, lnn.MarginalisedPosterior])
def test_a_posterior_has_its_ensemble(kind):
    """In the inputs' own coordinates and in float64, whatever the posterior is sampled in."""
    posterior = posterior_of(DATA, kind=kind)
    assert posterior.ensemble.data is DATA and posterior.ensemble.spec == posterior.spec
    colder = posterior.at_temperature(0.1).ensemble
    assert colder.data is DATA and colder.spec.temperature == 0.1
    other = pickle.loads(pickle.dumps(posterior)).ensemble.data
    np.testing.assert_array_equal(other.x_test, DATA.x_test)
    assert lnn.MarginalisedPosterior.of(posterior).ensemble.data is DATA


def test_other_data_are_no_other_program():
    one, other = (jax.tree.structure(posterior_of(data)) for data in (DATA, OTHER))
    assert one == other and hash(one) == hash(other)


def test_an_ensemble_at_other_values():
    ensemble = posterior_of(DATA).ensemble
    moved = ensemble.at(hidden_widths=(9,)).at(temperature=0.0)
    assert moved.spec.hidden_widths == (9,) and moved.spec.temperature == 0.0
    assert moved.data is DATA and moved.origin is ensemble
    with pytest.raises(lnn.InputError, match='no field .temperatur.; did you mean "temperature"'):
        ensemble.at(temperatur=1.0)
    with pytest.raises(lnn.InputError, match="temperature must be zero or positive"):
        ensemble.at(temperature=-1.0)


def test_what_is_made_once_is_kept_and_not_copied():
    ensemble, made = posterior_of(DATA).ensemble, []
    assert ensemble.once(made.append) is None and ensemble.once(made.append) is None
    assert made == [ensemble]
    assert not pickle.loads(pickle.dumps(ensemble))._made
