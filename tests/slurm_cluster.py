"""A SLURM of one node in a folder of its own, on the loopback address: a real one, for tests.

It needs root, and the daemons of Debian's packages `slurm-wlm` and `munge`. Nothing outside the
folder is written or read, so that a SLURM of the machine's own is neither used nor disturbed.
"""

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
NUM_CPUS = 8
"""What the node says that it has, so that jobs wait for each other only where a test wants it."""

CONFIGURATION = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=2
SchedulerParameters=sched_interval=1
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000
PartitionName=all Nodes=ALL Default=YES
"""


def reason_without() -> str:
    """Why there can be no SLURM here; empty where there can."""
    if missing := [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]:
        return f"needs {', '.join(missing)}, from Debian's slurm-wlm and munge"
    return "" if os.geteuid() == 0 else "needs root, to start SLURM's daemons"


class Slurm:
    """The daemons, while they run; `environment` is that of who submits jobs to them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        self.daemons: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Slurm":
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        ports = _free_ports(2)
        text = CONFIGURATION.format(
            folder=self.folder, host=platform.node().partition(".")[0], cpus=NUM_CPUS,
            controller_port=ports[0], node_port=ports[1],
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text)
        self.start(
            "munged", "--foreground", "--force", f"--socket={self.folder / 'munge.socket'}",
            f"--key-file={key}", f"--pid-file={self.folder / 'munged.pid'}",
            f"--log-file={self.folder / 'munged.log'}", f"--seed-file={self.folder / 'seed'}",
        )  # fmt: skip
        self.start("slurmctld", "-D")
        self.start("slurmd", "-D")
        limit = time.monotonic() + 60
        while "idle" not in self.answer("sinfo", "--noheader", "--format=%T"):
            assert time.monotonic() < limit, self.answer("sinfo", "--long", "--Node")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self.answer("scancel", "--full", "--signal=KILL", *self.jobs())
        limit = time.monotonic() + 30
        while self.jobs() and time.monotonic() < limit:
            time.sleep(0.2)
        for name in ("slurmd", "slurmctld", "munged"):
            self.stop(name)

    def start(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                [name, *words], env=self.environment, stdout=log, stderr=log
            )

    def stop(self, name: str) -> None:
        """As a machine that fails does: without a word to the daemon."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()

    def answer(self, *words: str) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True)
        return done.stdout + done.stderr

    def jobs(self, state: str = "pending,running,completing") -> list[str]:
        """The jobs in this state."""
        words = ["squeue", "--noheader", "--array", "--format=%i", f"--states={state}"]
        return self.answer(*words).split()


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
