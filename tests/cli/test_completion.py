"""`langevin-nn completion`: what bash offers is what the command takes."""

import shutil
import subprocess

import pytest
from refusals import refused

from langevin_nn import config as configuration
from langevin_nn.cli.commands import COMMANDS
from langevin_nn.config.sections import ACTIVATION_NAMES
from langevin_nn.theory import THEORIES

ASK = """
source completion.bash
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); _shtab_langevin_nn
printf '%s\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def offered(cli):
    """What bash offers for the last of these words."""
    answer = cli("completion", "bash")
    assert (answer.code, answer.err) == (0, "")
    (cli.folder / "completion.bash").write_text(answer.out)

    def ask(*words):
        command = ["bash", "-c", ASK, "ask", "langevin-nn", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=cli.folder, check=True)
        return set(done.stdout.split())

    return ask


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_offers_commands_options_choices_and_files(offered, cli):
    assert offered("") == set(COMMANDS)
    fields = {f"--{name}" for name in configuration.options()}
    assert fields | {"--output", "--resume", "--help"} <= offered("run", "--")
    assert offered("run", "tiny.toml", "--network.act") == {"--network.activation"}
    assert offered("run", "tiny.toml", "--network.activation", "") == set(ACTIVATION_NAMES)
    assert offered("sweep", "tiny.toml", "--network.biases", "") == {"true", "false"}
    assert offered("theory", "tiny.toml", "--theory", "") == set(THEORIES)
    assert offered("plot", "out", "--format", "p") == {"png", "pdf"}
    (cli.folder / "out").mkdir()
    assert offered("run", "") == {"tiny.toml", "completion.bash", "out"}
    assert offered("plot", "") == {"out"}
    assert offered("theory", "tiny.toml", "--plot", "ti") == {"tiny.toml"}


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_other_shells(cli, shell):
    answer = cli("completion", shell)
    assert answer.code == 0 and "langevin-nn" in answer.out and "--network.biases" in answer.out


def test_a_shell_that_is_not_known(cli):
    refused(cli("completion", "fish"), "'fish'", "bash", "zsh")
    refused(cli("completion"), "bash")
