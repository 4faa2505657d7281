"""Machines that are namespaces: each has a network, files laid over this machine's, processes, and a memory of its own."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.lab.gateways.journal import Journal

_TIMEOUT_S = 60
_SETUP = """
set -e
for folder in etc usr; do
    mount -t overlay overlay -o "lowerdir=$(for layer in "$@"; do printf %s/$folder: "$layer"; done)/$folder" "/$folder"
done
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/log
ip link set lo up
echo ready
sleep infinity & wait  # as the first process it reaps what others leave
"""


class Network:
    """A network of its own, in which commands see the files and processes of a machine."""

    def __init__(self, name: str, journal: Journal, holder: Sequence[str]) -> None:
        self.name, self.journal = name, journal
        self._spawned: list[subprocess.Popen] = []
        # whoever ends, however, takes what it holds along
        self._holder = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *holder], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = self._holder.stdout.readline()
        if said != "ready\n":
            self.close()
            raise AssertionError(f"{name} did not come up: {said}")

    @property
    def pid(self) -> int:
        return self._holder.pid

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.pid}/ns/net"]

    def run(self, *command: str | Path, check: bool = True, quiet: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a command here. Raises `AssertionError` when it fails, unless `check` is false."""
        done = subprocess.run([*self._enter, *command], capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
        if not quiet:
            self.journal.say(self.name, f"$ {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {command}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def spawn(self, *command: str | Path) -> subprocess.Popen:
        """Start a command that stays; it ends with what is returned, or with its machine."""
        self.journal.say(self.name, f"$ {' '.join(map(str, command))} &")
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        bound = ("setpriv", "--pdeathsig", "KILL")
        self._spawned.append(subprocess.Popen([*self._enter, *bound, *command], **silent))
        return self._spawned[-1]

    def ip(self, *arguments: str) -> None:
        self.run("ip", *arguments, quiet=True)

    def close(self) -> None:
        """End all that runs here."""
        for process in (*self._spawned, self._holder):
            process.kill()
            process.wait()
        self._holder.stdout.close()


class Machine(Network):
    """A network with files: `layers` of etc and usr, the first on top, over this machine's own, which stay as they are."""

    def __init__(self, name: str, journal: Journal, layers: Sequence[Path]) -> None:
        unshared = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        super().__init__(name, journal, [*unshared, "sh", "-c", _SETUP, "sh", *map(str, layers)])

    @property
    def _enter(self) -> list[str]:
        spaces = f"/proc/{self.pid}/ns"
        return ["nsenter", f"--mount={spaces}/mnt", f"--pid={spaces}/pid_for_children", f"--net={spaces}/net"]


class Annex(Network):
    """A second network of a machine, with the machine's files and processes."""

    def __init__(self, name: str, machine: Machine) -> None:
        self._machine = machine
        unshared = ("unshare", "--net", "sh", "-c", "ip link set lo up; echo ready; exec sleep infinity")
        super().__init__(name, machine.journal, unshared)

    @property
    def _enter(self) -> list[str]:
        return [*self._machine._enter[:-1], f"--net=/proc/{self.pid}/ns/net"]


def cable(one: Network, its: str, other: Network, others: str, mtu: int) -> None:
    """A wire between two networks, with the names of its ends."""

    def end(network: Network, name: str) -> tuple[str, ...]:
        return (name, "netns", str(network.pid), "mtu", str(mtu))

    subprocess.run(["ip", "link", "add", *end(one, its), "type", "veth", "peer", *end(other, others)], check=True)
    one.ip("link", "set", its, "up")
    other.ip("link", "set", others, "up")


def hand_over(one: Network, device: str, other: Network, name: str) -> None:
    """A device goes from one network to another, under another name; who has it open keeps it."""
    enter = ["nsenter", f"--net=/proc/{one.pid}/ns/net"]
    subprocess.run([*enter, "ip", "link", "set", device, "netns", str(other.pid), "name", name], check=True)
