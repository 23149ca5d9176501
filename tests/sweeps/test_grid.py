"""Grids of configurations: what an axis may be, which points there are, how they become tasks."""

import subprocess
import sys
import tomllib
from importlib.util import find_spec

import numpy as np
import pytest
from refusals import refuses

from langevin_nn import config as configuration
from langevin_nn.errors import InputError
from langevin_nn.sweeps import executors, plan
from langevin_nn.sweeps.axes import over_of
from langevin_nn.sweeps.grid import execution, grid, load


def grid_of(*words, values=None, seeds=None):
    return grid(values or {}, over_of(words), seeds)


# --- axes and points


@pytest.mark.parametrize(
    ("word", "coordinates", "field", "values"),
    [
        ("prior.precisions[-1]=0.1,1,10", [0.1, 1.0, 10.0], "precisions",
         [(1.0, 0.1), (1.0, 1.0), (1.0, 10.0)]),
        ("prior.precisions[0]=2, 3", [2.0, 3.0], "precisions", [(2.0, 1.0), (3.0, 1.0)]),
        ("prior.precisions=[1,2],[2,1]", ["[1.0, 2.0]", "[2.0, 1.0]"], "precisions",
         [(1.0, 2.0), (2.0, 1.0)]),
        ("network.hidden_widths=[50],[100],[200]", ["[50]", "[100]", "[200]"], "hidden_widths",
         [(50,), (100,), (200,)]),
        ("network.hidden_widths[0]=50,100", [50, 100], "hidden_widths", [(50,), (100,)]),
        ("data.num_train=10,20", [10, 20], "num_train", [10, 20]),
        ("data.classes=[0,1],[[0,2],[1,3]]", ["[0, 1]", "[[0, 2], [1, 3]]"], "classes",
         [(0, 1), ((0, 2), (1, 3))]),
        ("data.targets=one_hot,[-1,1]", ["one_hot", "[-1.0, 1.0]"], "targets",
         ["one_hot", (-1.0, 1.0)]),
        ("sampler.step-size=auto,.01", ["auto", "0.01"], "step_size", ["auto", 0.01]),
        ('network.activation="erf",relu', ["erf", "relu"], "activation", ["erf", "relu"]),
        ("posterior.temperature=1e-3", [0.001], "temperature", [0.001]),
        ("data.standardize=true,false", [True, False], "standardize", [True, False]),
    ],
)  # fmt: skip
def test_words_of_an_axis(word, coordinates, field, values):
    found = grid_of(word)
    (name,) = found.names
    assert found.coordinates == {name: coordinates}
    section = name.split(".")[0]
    assert [getattr(getattr(point, section), field) for point in found.points] == values


def test_points_are_in_c_order_and_seeds_come_last():
    found = grid_of("posterior.temperature=0.1,1", "network.hidden_widths[0]=5,6,7", seeds=2)
    assert found.names == ("posterior.temperature", "network.hidden_widths[0]", "seed")
    assert found.shape == (2, 3, 2) and len(found.points) == 12
    point = found.points[np.ravel_multi_index((1, 2, 0), found.shape)]
    assert (point.posterior.temperature, point.network.hidden_widths, point.seed) == (1.0, (7,), 0)
    assert found.place(10) == "posterior.temperature = 1.0, network.hidden_widths[0] = 7, seed = 0"


def test_a_point_is_the_run_of_its_configuration():
    """Defaults that depend on another field are those of the point, not of the base."""
    values = {"seed": 7, "data": {"num_train": 12}}
    found = grid_of("sampler.dynamics=langevin,split", values=values, seeds=2)
    expected = configuration.from_dict(values | {"seed": 8, "sampler": {"dynamics": "split"}})
    assert found.points[3] == expected and expected.sampler.num_warmup == "auto"
    assert found.points[3].content_hash == expected.content_hash


def test_depth_and_precisions_vary_together_where_they_fit():
    found = grid({"prior": {"precisions": [1.0, 1.0, 1.0]}}, {"network.hidden_widths": [[5, 5]]})
    assert found.shape == (1,) and found.points[0].prior.precisions == (1.0, 1.0, 1.0)


def test_precisions_that_are_left_out_follow_the_depth():
    axes = {"network.hidden_widths": [[5], [5, 5]], "prior.precisions[-1]": [1.0, 2.0]}
    found = [point.prior.precisions for point in grid({}, axes).points]
    assert found == [(1.0, 1.0), (1.0, 2.0), (1.0, 1.0, 1.0), (1.0, 1.0, 2.0)]


def test_precisions_of_no_hidden_layer_are_the_read_outs():
    found = grid({"network": {"hidden_widths": []}}, {"prior.precisions[-1]": [1.0, 2.0]})
    assert [point.prior.precisions for point in found.points] == [(1.0,), (2.0,)]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"network": 3}, ["[network]", "3"]),
        ({"network": {"hidden_widths": 5}}, ["network.hidden_widths", "[200]"]),
        ({"prior": {"precisions": 3}}, ["prior.precisions = 3"]),
    ],
)
def test_an_entry_of_what_is_no_list_is_refused(values, texts):
    with refuses(*texts):
        grid(values, {"prior.precisions[-1]": [1.0, 2.0]})


def test_precisions_of_a_network_of_ones_own_are_as_many_as_are_written():
    """How many layers it has it says when it is made, for its data."""
    network = {"architecture": "mine:ThreeLayers", "hidden_widths": [5]}
    values = {"network": network, "prior": {"precisions": [1.0, 1.0, 1.0]}}
    for index in (1, 2, -1):
        (point,) = grid(values, {f"prior.precisions[{index}]": [2.0]}).points
        expected = [1.0, 1.0, 1.0]
        expected[index] = 2.0
        assert list(point.prior.precisions) == expected
    with refuses("prior.precisions[2]", "[prior]", "mine:ThreeLayers"):
        grid({"network": network}, {"prior.precisions[2]": [2.0]})


def test_entries_are_put_into_the_lists_of_another_axis():
    found = grid_of("prior.precisions[-1]=3,4", "prior.precisions=[1,1],[2,2]")
    assert [point.prior.precisions for point in found.points] == [
        (1.0, 3.0), (2.0, 3.0), (1.0, 4.0), (2.0, 4.0),
    ]  # fmt: skip


def test_numbers_from_numpy():
    found = grid({}, {"prior.precisions[-1]": np.geomspace(0.1, 10, 3), "seed": np.arange(2)})
    assert found.coordinates["seed"] == [0, 1] and found.shape == (3, 2)
    assert found.content_hash == grid(tomllib.loads(found.toml)).content_hash


# --- the [sweep] table


TABLE = """
seed = 4
[posterior]
temperature = 0.5
[sweep]
seeds = 3
[sweep.over]
"prior.precisions[-1]" = [0.1, 1, 10]
"""


def test_table_of_the_file_and_words_beside_it(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(TABLE)
    found = load(path)
    assert found.coordinates == {"prior.precisions[-1]": [0.1, 1.0, 10.0], "seed": [4, 5, 6]}
    replaced = load(path, {"posterior.temperature": ["1"]}, {"prior.precisions[-1]": [2]}, 1)
    assert replaced.coordinates == {"prior.precisions[-1]": [2.0], "seed": [4]}
    assert replaced.points[0].posterior.temperature == 1.0
    beside = load(path, None, {"data.num_train": [5, 6], "seed": [1]})
    assert beside.coordinates["data.num_train"] == [5, 6] and beside.coordinates["seed"] == [1]
    assert beside.shape == (3, 1, 2)


def test_the_grid_is_a_configuration_that_makes_it_again(tmp_path):
    (tmp_path / "grid.toml").write_text(TABLE)
    found = load(tmp_path / "grid.toml", None, over_of(["network.hidden_widths=[5],[6]"]))
    (tmp_path / "again.toml").write_text(found.toml)
    again = load(tmp_path / "again.toml")
    assert again.points == found.points and again.coordinates == found.coordinates
    assert again.content_hash == found.content_hash


def test_the_hash_is_of_the_grid_not_of_its_spelling():
    reference = grid_of("posterior.temperature=0.1,1", seeds=2)
    same = grid({"seed": 0, "data": {"num_train": 100}}, {"posterior.temperature": [0.1, 1.0],
                                                         "seed": [0, 1]})  # fmt: skip
    assert same.content_hash == reference.content_hash
    for other in (
        grid_of("posterior.temperature=1,0.1", seeds=2),
        grid_of("posterior.temperature=0.1,1", seeds=3),
        grid_of("posterior.temperature=0.1,1", seeds=2, values={"network": {"activation": "relu"}}),
        grid({}, {"seed": [0, 1], "posterior.temperature": [0.1, 1.0]}),
    ):
        assert other.content_hash != reference.content_hash


def test_path_among_the_values_is_looked_for_beside_the_file(tmp_path):
    (tmp_path / "one.npz").touch()
    (tmp_path / "grid.toml").write_text('[data]\nsource = "npz"')
    found = load(tmp_path / "grid.toml", None, {"data.path": ["one.npz"]})
    assert found.points[0].data.path == str(tmp_path / "one.npz")


def test_how_a_grid_is_worked_off_is_not_the_grid(tmp_path):
    how = 'executor = "slurm"\nworkers = 3\n'
    assert "[sweep]\n" in TABLE
    table = TABLE.replace("[sweep]\n", "[sweep]\n" + how)
    (tmp_path / "grid.toml").write_text(table + '[sweep.slurm]\nqueue = "gpu"\ncores = 4')
    slurm = {"queue": "gpu", "cores": 4}
    found = execution(tmp_path / "grid.toml")
    assert found == {"executor": "slurm", "workers": 3, "slurm": slurm}
    reference = load(tmp_path / "grid.toml")
    (tmp_path / "grid.toml").write_text(TABLE)
    assert load(tmp_path / "grid.toml").content_hash == reference.content_hash


# --- what is refused


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["prior.precision=1"], ['"prior.precision"', '"prior.precisions"']),
        (["quark=1"], ['"quark"', "seed"]),
        (["prior=1"], ['"prior"']),
        (["posterior.temperature"], ["FIELD=VALUES"]),
        (["=1"], ["FIELD=VALUES"]),
        (["posterior.temperature="], ["posterior.temperature", "empty"]),
        (["posterior.temperature=1,,2"], ["posterior.temperature", "empty"]),
        (["posterior.temperature=cold"], ["posterior.temperature", "'cold'"]),
        (["posterior.temperature=-1"], ["posterior.temperature", "-1"]),
        (["posterior.temperature[0]=1"], ["not a list", "posterior.temperature"]),
        (["prior.precisions[last]=1"], ["prior.precisions[-1]"]),
        (["prior.precisions[2]=1"], ["[0] to [1]"]),
        (["prior.precisions[-3]=1"], ["[-2] to [-1]"]),
        (["prior.precisions[-1]=x"], ["prior.precisions", "'x'"]),
        (["network.hidden_widths=[5"], ["[5"]),
        (["network.hidden_widths=[5],[5,5]", "prior.precisions=[1,2]"],
         ["network.hidden_widths = [5, 5]", "precisions = [1.0, 1.0, 1.0]"]),
        (["posterior.temperature=1", "posterior.temperature=2"], ["twice"]),
        (["sampler.num-chains=1", "sampler.num_chains=2"], ["twice"]),
        (["posterior.temperature=1,1.0"], ["same run"]),
        (["prior.precisions[1]=1,2", "prior.precisions[-1]=1,2"], ["same run"]),
        ([], ["--over FIELD=VALUES"]),
    ],
)  # fmt: skip
def test_words_that_make_no_grid(words, told):
    with refuses(*told):
        grid_of(*words)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ({"over": {"posterior.temperature": []}}, ["posterior.temperature", "no values"]),
        ({"over": {"posterior.temperature": 1.0}}, ["list", "1.0"]),
        ({"over": {"posterior.temperature": "1,2"}}, ["list", "1,2"]),
        ({"over": {"posterior": {"temperature": [1]}}}, ['"posterior"']),
        ({"over": {"seed": [1]}, "seeds": 2}, ["seed", "twice"]),
        ({"over": {"sampler.num-chains": [1], "sampler.num_chains": [2]}}, ["twice"]),
        ({"over": [1]}, ["[sweep.over]"]),
        ({"seeds": 0}, ["seeds", "from 1", "0"]),
        ({"seeds": "many"}, ["seeds", "'many'"]),
        ({"seeds": True}, ["seeds", "True"]),
        ({"sedes": 2}, ['"sweep.sedes"', '"seeds"']),
        ({}, ["axis"]),
        (3, ["[sweep]"]),
        ({"over": {"seed": list(range(400)), "data.num_train": list(range(1, 400))}}, ["159600"]),
    ],
)  # fmt: skip
def test_tables_that_make_no_grid(table, told):
    with refuses(*told):
        grid({"sweep": table})


def test_a_run_of_a_grid_says_what_to_write(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text(TABLE)
    with pytest.raises(InputError, match=f"write langevin-nn sweep {path}"):
        configuration.load(path)


def test_no_jax():
    program = "import sys, langevin_nn.cli.arguments; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


# --- tasks


def sizes(found, most):
    return [len(task.points) for task in plan.tasks(found, most)]


def test_points_of_one_program_are_a_task():
    over = (
        "posterior.temperature=0.1,1",
        "prior.precisions[-1]=0.1,1",
        "network.activation=erf,relu",
    )
    found = grid_of(*over, seeds=3)
    tasks = plan.tasks(found, 32)
    assert [len(task.points) for task in tasks] == [12, 12]
    by_hash = {point.content_hash: point for point in found.points}
    for task in tasks:
        assert len({by_hash[point].network.activation for point in task.points}) == 1
    together = [point for task in tasks for point in task.points]
    assert sorted(together) == sorted(by_hash)
    assert len({task.name for task in tasks}) == 2
    assert sizes(found, 5) == [4] * 6
    for field in ("data.num_train=5,6", "network.hidden_widths=[5],[6]", "sampler.num_chains=2,3",
                  "sampler.dynamics=langevin,split", "posterior.readout=sampled,marginalised",
                  "precision=float32,float64", "sampler.step_size=0.1,0.2"):  # fmt: skip
        assert sizes(grid_of(field), 32) == [1, 1], field


def test_a_ladder_is_a_task_of_its_own():
    found = grid({"sampler": {"ladder": [2.0, 4.0]}}, {"posterior.temperature": [0.1, 1.0]})
    assert sizes(found, 32) == [1, 1]


def test_as_many_points_as_the_memory_holds_and_the_workers_need():
    found = grid({}, seeds=40)
    assert plan.points_per_task(found, 1) == plan.LARGEST_TASK
    assert plan.points_per_task(found, 8) == 5
    assert plan.points_per_task(found, 1000) == 1
    large = {"data": {"num_train": 3000}, "network": {"hidden_widths": [3000]}}
    assert plan.points_per_task(grid(large, seeds=40), 1) < 3


def test_settings_of_slurm_are_checked_for_any_executor():
    """FAULTS 5, [sweep.slurm] foo = 1: it was taken, until the sweep went to a cluster."""
    if not find_spec("dask_jobqueue"):  # importing it would take Ctrl-C from the other tests
        pytest.skip("needs dask_jobqueue")
    executors.check("serial", None, {"cores": 2, "walltime": "01:00:00"})
    with pytest.raises(InputError, match='unknown setting "foo"'):
        executors.check("serial", None, {"foo": 1})
