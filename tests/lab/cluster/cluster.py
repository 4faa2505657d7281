"""The cluster as a whole: up, down, and what can happen to it in between."""

import datetime as dt
import fcntl
import json
import os
import secrets
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from infra.operations.stack_files import settings_of, tracked
from infra.settings import stack_config
from tests.lab.cluster import (
    agents,
    building,
    cgroups,
    control_plane,
    networks,
    node_files,
    nodes,
    packages,
    pki,
    store,
    system,
    wan,
)
from tests.lab.cluster.layout import DEVICE, LAB, SPACES, Layout, url
from tests.lab.cluster.plan import Node, Plan, plan
from tests.lab.daemons import Daemon, LabError, until

STACK = "lab"
_START_LIMIT_S, _NODE_LIMIT_S, _ANSWER_S = 120, 180, 3
_ASK_EACH_S = 0.5  # a kubectl is not for nothing


@dataclass(frozen=True)
class Cluster:
    """The one below `root`; a machine has room for one at a time."""

    root: Path = LAB / "cluster"

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.root)

    @cached_property
    def plan(self) -> Plan:
        """By the lab's stack file. Raises `UserError` for values that do not fit."""
        return plan(settings_of(stack_config(tracked(STACK)), STACK))

    def build(self) -> None:
        """Debian's packages and the programs, as far as they are not there. Raises `LabError`."""
        packages.ensure_possible()
        packages.install()
        building.build(self.layout)

    def up(self) -> None:
        """A new and empty cluster, both nodes ready. Raises `LabError`; what was started by then is stopped."""
        self.build()
        self.down()
        if taken := networks.taken(self.plan):
            raise LabError(f"routes to {', '.join(taken)} are there already; the lab needs those networks: remove them")
        with self._alone():
            try:
                self._clean()
                store.refresh(self.layout)
                self._up()
            except BaseException:
                self._down()
                raise

    def down(self) -> None:
        """The machine as it was, whatever of the cluster is there. Images and programs are kept. Raises `LabError`."""
        with self._alone():
            self._down()

    def kubectl(self, *arguments: str, input: str | None = None) -> str:  # noqa: A002 - subprocess calls it so too
        """What kubectl prints, as an administrator. Raises `LabError` with what it said."""
        self._require_up()
        command = [self.layout.bin / "kubectl", f"--kubeconfig={self.layout.kubeconfig}", *arguments]
        environment = {**os.environ, "KUBECACHEDIR": str(self.layout.run / "kubectl"), "NO_PROXY": "*"}
        done = subprocess.run(command, input=input, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise LabError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def cut(self) -> None:
        """The link carries nothing until `mend`, and tells nobody. Raises `LabError`."""
        self._require_up()
        wan.at_both_ends(wan.outage())

    def mend(self) -> None:
        """Raises `LabError`."""
        self._require_up()
        wan.at_both_ends(wan.mending())

    def carried(self) -> int:
        """IP bytes that the link has carried in both directions since it is up. Raises `LabError`."""
        return wan.carried(self.layout.counters).bytes

    def kill_node(self, name: str) -> None:
        """As by a power cut: the disk stays, nothing is told to anybody. Raises `LookupError`, `LabError`."""
        node = self.plan.node(name)
        for daemon in (node_files.daemon(self.layout, node), *agents.of_node(self.layout, self.plan, node)):
            daemon.kill()
        cgroups.clear(name)

    def start_node(self, name: str) -> None:
        """A node that was killed, from its disk; it is ready on return. Raises `LookupError`, `LabError`."""
        node, began = self.plan.node(name), _now()
        self._require_up()
        nodes.boot(self.layout, self.plan, node, new=False)
        self._await_ready(node, began)
        for daemon in agents.of_node(self.layout, self.plan, node):
            daemon.start()

    def load_images(self) -> None:
        """What is new in the folder of images, on both nodes. Raises `LabError`."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(partial(nodes.load_images, self.layout), self.plan.nodes))

    def reset_volumes(self) -> None:
        """The volume empty, and free for a claim. Raises `LabError` while a claim has it."""
        found = json.loads(
            self.kubectl("get", "persistentvolume", system.VOLUME, "--ignore-not-found", "-o=json") or "{}"
        )
        if found.get("status", {}).get("phase") == "Bound":
            claim = found["spec"]["claimRef"]
            raise LabError(
                f"volume {system.VOLUME} is bound to claim {claim['namespace']}/{claim['name']}; delete the claim first"
            )
        self.kubectl("delete", "persistentvolume", system.VOLUME, "--ignore-not-found", f"--timeout={_START_LIMIT_S}s")
        _empty(self.layout.volume)
        self.kubectl("apply", "--filename=-", input=system.as_yaml([system.storage_class(), system.volume()]))

    def status(self) -> str:
        """Daemons, nodes and link, in lines."""
        daemons = [f"{daemon.name}: {daemon.pid or 'ended'}" for daemon in self._recorded()]
        if not daemons:
            return "down"
        known = self.kubectl("get", "nodes", "--output=wide") if self._answers() else "the API server does not answer"
        link = wan.carried(self.layout.counters)
        used = f"nodes' memory: {cgroups.memory_mib():.0f} MiB"
        return "\n".join([*daemons, f"link: {link.bytes} bytes, {link.drops} packets dropped", used, known.rstrip()])

    def _up(self) -> None:
        layout, known = self.layout, self.plan
        pki.make(layout, known)
        control_plane.write_encryption(layout, secrets.token_bytes(32))
        networks.make(known, layout.note)
        link, etcd = wan.daemon(layout, known), control_plane.etcd(layout)
        api = control_plane.api_server(layout, known.services)
        for daemon in (link, etcd, api):
            daemon.start()
        until("link", lambda: "ready" in link.log_tail(), _START_LIMIT_S, link)
        networks.run(networks.wan_ends(known))
        until("API server", self._answers, _START_LIMIT_S, etcd, api)
        began = _now()
        for node in known.nodes:
            nodes.boot(layout, known, node, new=True)
        for daemon in (*control_plane.managers(layout), *agents.relays(layout, known)):
            daemon.start()
        self.kubectl("apply", "--filename=-", input=system.as_yaml(self._manifests()))
        for node in known.nodes:
            self._await_ready(node, began)
            for daemon in agents.of_node(layout, known, node):
                daemon.start()
        if (layout.images / "coredns.tar").exists():
            self.kubectl(
                "--namespace=kube-system", "rollout", "status", "daemonset/coredns", f"--timeout={_NODE_LIMIT_S}s"
            )

    def _manifests(self) -> list[system.Manifest]:
        return [
            *system.proxy_rights(),
            *system.names(self.plan),
            system.storage_class(),
            system.volume(),
            *agents.manifests(),
        ]

    def _clean(self) -> None:
        """Nothing of another cluster: its state, and its nodes' disks."""
        for folder in (self.layout.etcd, self.layout.run, self.layout.nodes):
            # of a node's layers there are so many files that rmtree takes its time
            subprocess.run(["rm", "-rf", folder], check=True)
            folder.mkdir(mode=0o700, parents=True)
        _empty(self.layout.volume)

    def _await_ready(self, node: Node, since: dt.datetime) -> None:
        """What is known of a node from before `since` does not count."""
        until(
            f"node {node.name}",
            lambda: nodes.is_ready(
                self.kubectl("get", "node", node.name, "--ignore-not-found", "-o=json"), node, since
            ),
            _NODE_LIMIT_S,
            node_files.daemon(self.layout, node),
            each_s=_ASK_EACH_S,
        )

    def _answers(self) -> bool:
        trust = ssl.create_default_context(cafile=str(self.layout.pki / f"{pki.AUTHORITY}.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        try:
            with opener.open(f"{url()}/readyz", timeout=_ANSWER_S) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    @staticmethod
    def _require_up() -> None:
        """Without its network the cluster's addresses are somebody else's."""
        if networks.present() != [*SPACES, DEVICE]:
            raise LabError("the cluster is not up; start it with `python -m tests.lab.cluster up`")

    def _recorded(self) -> list[Daemon]:
        return [Daemon(path.stem, (), self.layout.run) for path in sorted(self.layout.run.glob("*.pid"))]

    def _down(self) -> None:
        """Nobody is asked to end: what each would put in order goes away with it."""
        for daemon in self._recorded():
            daemon.kill()
        cgroups.clear()
        networks.remove(self.layout.note)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with self.layout.lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LabError(f"another command works on the cluster in {self.root}; wait for it") from None
            yield


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _now() -> dt.datetime:
    """As the API tells times: whole seconds."""
    return dt.datetime.now(dt.UTC).replace(microsecond=0)
