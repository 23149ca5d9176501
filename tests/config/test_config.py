"""The configuration: what is read, what is refused, and with which words."""

import dataclasses
import os
import subprocess
import sys
import tomllib

import pytest
from refusals import refuses

from langevin_nn import config as configuration
from langevin_nn.config.record import DataConfig, RunConfig, SamplerConfig

FULL = """
seed = 7
precision = "float64"
theory = ["one_layer", "infinite_width"]
[data]
source = "npz"
path = "task.npz"
classes = [[0, 2], [1, 3]]
targets = [0.0, 1.0]
num_train = 11
num_test = 12
standardize = false
in_size = 5
noise_variance = 0.25
teacher_width = 9
num_components = 3
[network]
hidden_widths = [30, 20]
activation = "relu"
biases = true
[prior]
precisions = [1.0, 2.0, 0.5]
bias_precisions = [0.5, 1.0, 2.0]
[posterior]
temperature = 0.02
[sampler]
dynamics = "langevin"
step_size = 0.001
num_chains = 3
num_warmup = 10
num_samples = 20
thinning = 4
"""


def write(folder, text, name="config.toml"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def loaded(folder, text="", **overrides):
    """`data__classes=[…]` stands for the words behind `--data.classes`."""
    words = {name.replace("__", "."): given for name, given in overrides.items()}
    return configuration.load(write(folder, text), words)


def test_round_trip_through_toml(tmp_path):
    config = loaded(tmp_path, FULL)
    assert config.data.classes == ((0, 2), (1, 3))
    assert config.sampler.step_size == 0.001
    assert config.network.hidden_widths == (30, 20)
    assert config.prior.bias_precisions == (0.5, 1.0, 2.0)
    assert config.theory == ("one_layer", "infinite_width")
    again = loaded(tmp_path, config.to_toml())
    assert again == config
    assert again.content_hash == config.content_hash
    assert set(tomllib.loads(config.to_toml())["data"]) == {
        item.name for item in dataclasses.fields(DataConfig)
    }


def test_an_empty_file_is_the_default(tmp_path):
    config = loaded(tmp_path, "")
    assert config == RunConfig()
    assert config.sampler == SamplerConfig()
    assert (config.data.num_train, config.data.num_test) == (100, 200)
    assert loaded(tmp_path, config.to_toml()) == config


def test_open_numbers_stay_open_for_npz(tmp_path):
    config = loaded(tmp_path, '[data]\nsource = "npz"\npath = "task.npz"')
    assert (config.data.num_train, config.data.num_test) == (None, None)
    assert "num_train" not in config.to_toml()


def test_hash_depends_on_the_content_alone(tmp_path):
    one = "seed = 3\n[sampler]\nthinning = 5\nnum_chains = 2\n[posterior]\ntemperature = 1\n"
    other = "# a comment\n[posterior]\ntemperature = 1.0\n[sampler]\nnum_chains=2\nthinning=5\n"
    (tmp_path / "elsewhere").mkdir()
    first = configuration.load(write(tmp_path, one))
    second = configuration.load(write(tmp_path / "elsewhere", other, "b.toml"), {"seed": ["3"]})
    assert first.content_hash == second.content_hash
    assert len(first.content_hash) == 12


@pytest.mark.parametrize(
    ("name", "word"),
    [("seed", "1"), ("data.num_test", "201"), ("prior.precisions", "1,1.001"),
     ("sampler.step_size", "1e-9"), ("data.standardize", "false"), ("precision", "float64")],
)  # fmt: skip
def test_hash_changes_with_each_kind_of_field(tmp_path, name, word):
    path = write(tmp_path, "")
    assert configuration.load(path, {name: [word]}).content_hash != RunConfig().content_hash


@pytest.mark.parametrize(
    "words",
    [["1", "2.5"], ["1,", "2.5"], ["[1, 2.5]"], ["1,2.5"], ["[1.0,", "2.5]"], ["1.", "2.5"]],
)
def test_lists_on_the_command_line(tmp_path, words):
    assert loaded(tmp_path, prior__precisions=words).prior.precisions == (1.0, 2.5)


@pytest.mark.parametrize("words", [["[0, 2]", "[1, 3]"], ["[[0,2],[1,3]]"], ["[0,2],[1,3]"]])
def test_groups_of_classes_on_the_command_line(tmp_path, words):
    assert loaded(tmp_path, data__classes=words).data.classes == ((0, 2), (1, 3))


@pytest.mark.parametrize(
    ("words", "classes", "targets"),
    [
        ({"data__classes": ["0", "1", "2"], "data__targets": ["one_hot"]}, (0, 1, 2), "one_hot"),
        ({"data__classes": ["0,1,2"], "data__targets": ['"centred"']}, (0, 1, 2), "centred"),
        ({"data__targets": ["0", "1"]}, (0, 1), (0.0, 1.0)),
        ({"data__targets": ["[0,", "1]"]}, (0, 1), (0.0, 1.0)),
    ],
)
def test_classes_and_targets_on_the_command_line(tmp_path, words, classes, targets):
    data = loaded(tmp_path, **words).data
    assert (data.classes, data.targets) == (classes, targets)
    assert loaded(tmp_path, loaded(tmp_path, **words).to_toml()).data == data


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["one_layer"], ("one_layer",)),
        (["one_layer", "scale_mixture"], ("one_layer", "scale_mixture")),
        (["one_layer,scale_mixture"], ("one_layer", "scale_mixture")),
        (["[]"], ()),
    ],
)
def test_theories_on_the_command_line(tmp_path, words, names):
    config = loaded(tmp_path, theory=words)
    assert config.theory == names
    assert loaded(tmp_path, config.to_toml()) == config


def test_biases_have_the_precision_one_unless_given(tmp_path):
    deep = "[network]\nhidden_widths = [4, 3]\nbiases = true\n[prior]\nprecisions = [1, 2, 3]"
    config = loaded(tmp_path, deep)
    assert config.prior.bias_precisions == (1.0, 1.0, 1.0)
    assert loaded(tmp_path, config.to_toml()) == config
    assert loaded(tmp_path, deep, prior__bias_precisions=["3", "2", "1"]).prior.bias_precisions == (
        3.0,
        2.0,
        1.0,
    )


def test_counts_left_open_are_those_of_the_dynamics(tmp_path):
    langevin, split = (
        loaded(tmp_path, f'[sampler]\ndynamics = "{d}"') for d in ("langevin", "split")
    )
    assert (langevin.sampler.num_warmup, langevin.sampler.thinning) == (20_000, 100)
    assert (langevin.sampler.num_samples, langevin.sampler.target_error) == (1_000, None)
    assert (split.sampler.num_warmup, split.sampler.thinning) == ("auto", 1)
    assert (split.sampler.target_error, split.sampler.max_draws) == (0.01, 4_000)
    assert split.sampler.trajectory_length == "auto" and split.sampler.refresh == 1.0


@pytest.mark.parametrize(
    ("counts", "samples", "target"),
    [("num_samples = 30", 30, None), ("num_chains = 1", 1_000, None),
     ("target_error = 0.5", None, 0.5), ('target_absolute_error = ["bias2=0.1"]', None, None)],
)  # fmt: skip
def test_split_has_a_target_error_unless_something_else_ends_its_draws(
    tmp_path, counts, samples, target
):
    sampler = loaded(tmp_path, f'[sampler]\ndynamics = "split"\n{counts}').sampler
    assert (sampler.num_samples, sampler.target_error) == (samples, target)


RICH = "[network]\nhidden_widths = [30, 50]\nbiases = true\n[posterior]\nrichness = 0.2\n"


def test_a_richness_is_of_the_last_hidden_layer(tmp_path):
    """λ_L, the read-out's λ_b, T and the ladder change; nothing else does."""
    config = loaded(tmp_path, RICH, sampler__ladder=["1", "10"], posterior__temperature=["0.4"])
    used = config.in_standard_scaling
    assert used.prior.precisions == pytest.approx((1.0, 1.0, 2.0))
    assert used.prior.bias_precisions == pytest.approx((1.0, 1.0, 2.0))
    assert used.posterior.temperature == pytest.approx(0.2)
    assert used.sampler.ladder == pytest.approx((0.5, 5.0))
    assert used.posterior.richness is None and used.in_standard_scaling is used
    sections = ("prior", "posterior", "sampler")
    assert dataclasses.replace(used, **{name: getattr(config, name) for name in sections}) == config
    assert loaded(tmp_path, config.to_toml()) == config
    cold = loaded(tmp_path, RICH, posterior__temperature=["0"], sampler__ladder=["auto"])
    assert cold.in_standard_scaling.posterior.temperature == 0
    assert cold.in_standard_scaling.sampler.ladder == "auto"


def test_the_lazy_richness_is_the_standard_scaling_to_the_last_digit(tmp_path):
    for width in (3, 50, 200, 784):
        words = {"network__hidden_widths": [str(width)], "prior__precisions": ["1.3", "0.7"]}
        standard = loaded(tmp_path, "", **words)
        lazy = loaded(tmp_path, "", posterior__richness=[repr(width**-0.5)], **words)
        assert lazy.in_standard_scaling == standard != lazy


def test_a_configuration_without_richness_is_what_it_was(tmp_path):
    """Its name and its text, from before there was one."""
    config = loaded(tmp_path, "")
    assert config.content_hash == "7ea4d8a57332" and "richness" not in config.to_toml()
    assert config.in_standard_scaling is config
    rich = loaded(tmp_path, "", posterior__richness=["0.5"])
    assert rich.content_hash != config.content_hash and "richness = 0.5" in rich.to_toml()


def test_counts_that_a_run_folder_has_stay(tmp_path):
    text = '[sampler]\ndynamics = "split"\nnum_warmup = 1000\nnum_samples = 1000\nthinning = 1'
    config = loaded(tmp_path, text)
    assert (config.sampler.num_warmup, config.sampler.num_samples) == (1_000, 1_000)
    assert not config.sampler.has_target
    assert config.content_hash == "6667a99c5cc9"


def test_what_only_split_dynamics_has_is_refused_elsewhere(tmp_path):
    with refuses("sampler.refresh = 0.5", 'dynamics = "split"'):
        loaded(tmp_path, "[sampler]\nrefresh = 0.5")
    with refuses("π/2", 'step_size = "auto"'):
        loaded(tmp_path, '[sampler]\ndynamics = "split"\nstep_size = 2.0')


def test_one_word_of_a_list(tmp_path):
    config = loaded(tmp_path, network__hidden_widths=["50"])
    assert config.network.hidden_widths == (50,)
    linear = loaded(tmp_path, network__hidden_widths=["[]"], prior__precisions=["1"])
    assert linear.network.hidden_widths == ()


@pytest.mark.parametrize("word", [".5", "5e-1", "0.5", "+.5"])
def test_numbers_as_people_write_them(tmp_path, word):
    assert loaded(tmp_path, posterior__temperature=[word]).posterior.temperature == 0.5


def test_words_go_before_the_file(tmp_path):
    config = loaded(
        tmp_path, "[sampler]\nnum_chains = 2\nthinning = 3",
        sampler__num_chains=["6"], seed=["4"], sampler__step_size=["auto"],
    )  # fmt: skip
    assert (config.sampler.num_chains, config.sampler.thinning, config.seed) == (6, 3, 4)


@pytest.mark.parametrize("word", ["2024", "true", "1e3", "a # b.npz", 'quote".npz', "my data.npz"])
def test_a_path_is_text_whatever_it_looks_like(tmp_path, word):
    config = loaded(tmp_path, data__source=["npz"], data__path=[word])
    assert config.data.path == str(tmp_path / word)


def test_relative_path_beside_the_file_then_in_the_current_folder(tmp_path, monkeypatch):
    beside, here = tmp_path / "beside", tmp_path / "here"
    beside.mkdir(), here.mkdir()
    monkeypatch.chdir(here)
    text = '[data]\nsource = "npz"\npath = "task.npz"'
    path = write(beside, text)
    assert configuration.load(path).data.path == str(beside / "task.npz")
    (here / "task.npz").touch()
    assert configuration.load(path).data.path == str(here / "task.npz")
    (beside / "task.npz").touch()
    assert configuration.load(path).data.path == str(beside / "task.npz")


def test_path_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    config = loaded(tmp_path, '[data]\nsource = "npz"\npath = "~/task.npz"')
    assert config.data.path == str(tmp_path / "task.npz")


def test_byte_order_mark(tmp_path):
    assert configuration.load(write(tmp_path, b"\xef\xbb\xbfseed = 5")).seed == 5


BAD_TOML = {
    "draws": ("[sampler]\nnum_draws = 4", ['"sampler.num_draws"', '"sampler.num_samples"']),
    "learning rate": ("[sampler]\nlr = 0.1", ['"sampler.lr"', '"sampler.step_size"']),
    "beta": ("[posterior]\nbeta = 10.0", ['"posterior.temperature"', "1/beta"]),
    "variance": ("[prior]\nvariance = 2.0", ['"prior.precisions"', "1/variance"]),
    "unknown key": ("[sampler]\nnum_chain = 4", ['"sampler.num_chain"', '"sampler.num_chains"']),
    "key of a table at the top": ("num_chains = 4", ['"num_chains"', '"sampler.num_chains"']),
    "nothing like it": ("zzz = 4", ['"zzz"', "seed, precision"]),
    "dotted key in quotes": ('"sampler.thinning" = 4', ["thinning under [sampler]"]),
    "unknown table": ("[samplers]\nthinning = 4", ['"samplers"', '"sampler"']),
    "table below a table": ("[sampler.more]\nthinning = 4", ['"sampler.more"']),
    "value for a table": ("sampler = 3", ["[sampler]", "3"]),
    "list of tables": ("[[sampler]]\nthinning = 4", ["sampler", "table"]),
    "table for a value": ("[sampler.step_size]\nx = 4", ["sampler.step_size"]),
    "text for a number": ('seed = "one"', ["seed", "'one'"]),
    "float for a whole number": ("[sampler]\nthinning = 2.0", ["sampler.thinning", "2.0"]),
    "bool for a number": ("[sampler]\nthinning = true", ["sampler.thinning", "True"]),
    "number for text": ("[network]\nactivation = 3", ["network.activation", "3"]),
    "text for a flag": ('[data]\nstandardize = "yes"', ["true or false", "'yes'"]),
    "number for a list": ("[prior]\nprecisions = 1.0", ["prior.precisions", "list"]),
    "text in a list": ('[network]\nhidden_widths = ["wide"]', ["network.hidden_widths", "wide"]),
    "negative seed": ("seed = -1", ["seed", "-1"]),
    "seed beyond 63 bits": ("seed = 9223372036854775808", ["seed", "9223372036854775807"]),
    "no chains": ("[sampler]\nnum_chains = 0", ["num_chains", "from 1", "0"]),
    "three draws": ("[sampler]\nnum_samples = 3", ["num_samples", "from 4"]),
    "more steps than counted": ("[sampler]\nnum_samples = 2000000\nthinning = 2000",
                               ["4000020000", "2147483647"]),
    "negative temperature": ("[posterior]\ntemperature = -1", ["temperature", "-1"]),
    "infinite temperature": ("[posterior]\ntemperature = inf", ["temperature", "inf"]),
    "NaN": ("[posterior]\ntemperature = nan", ["temperature", "nan"]),
    "number beyond a float": (f"[posterior]\ntemperature = 1{'0' * 400}", ["temperature"]),
    "no richness": ("[posterior]\nrichness = 0", ["posterior.richness", "positive", "0.5", "0"]),
    "negative richness": ("[posterior]\nrichness = -1.0", ["posterior.richness", "-1.0"]),
    "richness in words": ('[posterior]\nrichness = "rich"', ["posterior.richness", "'rich'"]),
    "infinite richness": ("[posterior]\nrichness = inf", ["posterior.richness", "inf"]),
    "richness beyond a float": ("[posterior]\nrichness = 1e-200",
                                ["posterior.richness = 1e-200", "N_L = 200", "0.0707"]),
    "richness without a layer": ("[network]\nhidden_widths = []\n[posterior]\nrichness = 1.0",
                                 ["posterior.richness = 1", "hidden_widths = [200]"]),
    "gamma": ("[posterior]\ngamma = 1.0", ['"posterior.gamma"', '"posterior.richness"']),
    "negative noise": ("[data]\nnoise_variance = -0.1", ["noise_variance", "-0.1"]),
    "zero precision": ("[prior]\nprecisions = [1.0, 0.0]", ["precisions", "positive", "0.0"]),
    "step size in words": ('[sampler]\nstep_size = "big"', ["positive", '"auto"', "big"]),
    "negative step size": ("[sampler]\nstep_size = -1.0", ["positive", '"auto"', "-1.0"]),
    "unknown dynamics": ('[sampler]\ndynamics = "hmc"', ['"langevin"', "'hmc'"]),
    "unknown precision": ('precision = "half"', ['"float32", "float64"', "'half'"]),
    "one class": ("[data]\nclasses = [0]", ["data.classes", "[0]"]),
    "class and group": ("[data]\nclasses = [0, [1]]", ["data.classes", "[0, [1]]"]),
    "three targets": ("[data]\ntargets = [0, 1, 2]", ["data.targets", "two"]),
    "targets of another name": ('[data]\ntargets = "onehot"', ['"one_hot"', "'onehot'"]),
    "targets in a list": ('[data]\ntargets = ["one_hot"]', ["['one_hot']"]),
    "theory that is no list": ('theory = "one_layer"', ["list", "'one_layer'"]),
    "theory by number": ("theory = [1]", ["theory", "[1]"]),
    "unknown architecture": ('[network]\narchitecture = "resnet"',
                             ['"fully_connected", "convolutional"', "'resnet'"]),
    "deep convolution": ('[network]\narchitecture = "convolutional"\nhidden_widths = [5, 5]',
                         ["convolutional", "hidden_widths = [200]"]),
    "no stride": ("[network]\nstride = 0", ["network.stride", "from 1"]),
    "precisions without biases": ("[prior]\nbias_precisions = [1.0, 1.0]",
                                  ["prior.bias_precisions = [1.0, 1.0]", "biases = true"]),
    "too few for the biases": ("[network]\nbiases = true\n[prior]\nbias_precisions = [1.0]",
                               ["prior.bias_precisions", "bias_precisions = [1.0, 1.0]"]),
    "ladder below": ("[sampler]\nladder = [0.05, 1.0]",
                     ["[0.05, 1.0]", "0.1", "ladder = [1.0, 10.0]"]),
    "ladder twice": ("[sampler]\nladder = [1.0, 1.0]", ["ladder", "different"]),
    "ladder of words": ("[sampler]\nladder = ['hot']", ["ladder", "hot"]),
    "negative for a bias": ("[prior]\nbias_precisions = [-1.0]", ["bias_precisions", "positive"]),
    "too few precisions": ("[network]\nhidden_widths = [5, 5]\n[prior]\nprecisions = [1, 2]",
                          ["prior.precisions", "precisions = [1.0, 1.0, 1.0]"]),
    "npz without path": ('[data]\nsource = "npz"', ['path = "FILE.npz"']),
    "path without npz": ('[data]\npath = "x.npz"', ['source = "npz"']),
    "TOML syntax": ("seed = = 3", ["TOML", "line 1"]),
    "key given twice": ("seed = 1\nseed = 2", ["TOML"]),
    "not text": (b"seed = 1 # \xff\xfe", ["UTF-8"]),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), BAD_TOML.values(), ids=BAD_TOML)
def test_bad_files(tmp_path, text, words):
    with refuses(*words):
        loaded(tmp_path, text)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"sampler.num_chain": ["4"]}, ['"sampler.num_chain"', "sampler.num_chains"]),
        ({"sampler.num_chains": ["1e3"]}, ["sampler.num_chains", "1000.0"]),
        ({"sampler.num_chains": ["many"]}, ["sampler.num_chains", "'many'"]),
        ({"prior.precisions": ["1", "x"]}, ["prior.precisions", "[1, 'x']"]),
        ({"data.standardize": ["True"]}, ["'True'"]),
    ],
)
def test_bad_words(tmp_path, overrides, words):
    with refuses(*words):
        configuration.load(write(tmp_path, ""), overrides)


def test_a_table_that_is_none_stays_refused_with_words_for_it(tmp_path):
    with refuses("sampler", "table"):
        loaded(tmp_path, "sampler = 3", sampler__thinning=["4"])


def test_a_record_made_in_python_is_checked_as_well():
    with refuses("sampler.num_chains", "0"):
        SamplerConfig(num_chains=0)
    with refuses("seed", "-1"):
        RunConfig(seed=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        RunConfig().seed = 3


@pytest.mark.parametrize("words", [[], ["--help"], ["run", "--help"], ["run", "no-such.toml"]])
def test_what_needs_no_jax_does_not_import_it(words):
    """Help and refusals answer at once: JAX takes seconds to start."""
    program = (
        "import sys; from langevin_nn.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'jax', 'xarray', 'arviz', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# --- what no configuration is (FAULTS 5)


def deep(levels=20_000):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"seed = {'9' * 5000}", ["TOML", "4300"]),
        (f"seed = 0x{'f' * 5000}", ["seed", "4300"]),
        (f"[sampler]\nladder = {deep()}", ["TOML"]),
        ("[posterior]\ntemperature = 1e400", ["positive", "1e400"]),
        ("[posterior]\ntemperature = 1e-400", ["positive", "1e-400"]),
        ("[posterior]\ntemperature = inf", ["positive", "inf"]),
        ('[data]\nsource = "npz"\npath = "a\\u0000b"', ["data.path", "x00"]),
        ('[data]\nsource = "npz"\npath = "~nosuchuser/a"', ["data.path", "home"]),
        (f'[data]\nsource = "npz"\npath = "{"x" * 5000}"', ["data.path", "5002"]),
        (f'activation = "{"x" * 5000}"', ["activation"]),
        (f"{'k' * 5000} = 1", ["5000"]),
    ],
    ids=range(11),
)
def test_values_beyond_measure(tmp_path, text, words):
    """FAULTS 5, 5000 digits and inf: a line that shows what was given, not longer than a line."""
    with refuses(*words) as caught:
        loaded(tmp_path, text)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "word", ["9" * 5000, deep(), "1e999", "0x" + "f" * 4000, "1\nseed = 2", ""]
)
def test_words_beyond_measure(tmp_path, word):
    """FAULTS 5, nesting: of the command line, for a number, a list and a choice."""
    for name in ("seed", "prior__precisions", "precision", "sampler__step_size", "data__classes"):
        with refuses(name.replace("__", ".")):
            loaded(tmp_path, "", **{name: [word]})


def test_files_that_hold_no_configuration(tmp_path):
    """FAULTS 5, no file: a folder, a pipe that would never end, binary and endless files."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(2**40)
    for path, word in {
        "": "Is a directory", "pipe": "pipe", "binary": "UTF-8", "no.toml": "No such file",
        "huge": "1099511627776", "x" * 5000: "too long", "a\0b": "name", "/dev/zero": "device",
    }.items():  # fmt: skip
        with refuses(word):
            configuration.load(tmp_path / path)


def test_a_file_that_cannot_be_read_is_not_advised(tmp_path):
    """It is one of the TOML files of its folder; another one of nearly its name is advised."""
    path = tmp_path / "lat1.toml"
    path.write_bytes("# Universität".encode("latin-1"))
    with refuses("save it in UTF-8", "or write the name of a TOML file"):
        configuration.load(path)
    (tmp_path / "lat2.toml").touch()
    with refuses("save it in UTF-8", "lat2.toml, which is there"):
        configuration.load(path)


def test_seeds_as_seq_w_numbers_them(tmp_path):
    """FAULTS 5, --seed 01: it was said to be 1.0."""
    (tmp_path / "c.toml").touch()
    for word, number in (("01", 1), ("007", 7), ("08", 8), ("10", 10)):
        assert configuration.load(tmp_path / "c.toml", {"seed": [word]}).seed == number
