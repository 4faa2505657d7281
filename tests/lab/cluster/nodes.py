"""Nodes as they are started, entered and asked."""

import datetime as dt
import json
import subprocess

import psutil

from tests.lab.cluster import images, node_files, store
from tests.lab.cluster.layout import Layout
from tests.lab.cluster.plan import Node, Plan
from tests.lab.daemons import LabError, until

_SOCKET = "lib/kubelet/device-plugins/kubelet.sock"
_LIMIT_S = 180


def boot(layout: Layout, plan: Plan, node: Node, *, new: bool) -> None:
    """Start it from its disk, or as one that never ran. Raises `LabError`."""
    folder = layout.node(node.name)
    folder.mkdir(parents=True, exist_ok=True)
    if new:
        store.give(layout, node)
    (folder / _SOCKET).unlink(missing_ok=True)
    document = node_files.document(layout, plan, node)
    (folder / node_files.DOCUMENT).write_text(json.dumps(document, indent=1), encoding="utf-8")
    node_files.daemon(layout, node).start()


def load_images(layout: Layout, node: Node) -> list[str]:
    """Names of the archives that were new to it. Raises `LabError`."""
    root = layout.node(node.name)
    daemon = node_files.daemon(layout, node)
    # its runtime is there before that
    until(f"kubelet of {node.name}", (root / _SOCKET).is_socket, _LIMIT_S, daemon)
    return images.load(layout, root / "lib/containerd", lambda *command: run(layout, node, *command))


def run(layout: Layout, node: Node, *command: str) -> str:
    """What a command prints that runs on a node, among its files and processes. Raises `LabError`."""
    enter = ("nsenter", f"--target={first_process(layout, node)}", "--mount", "--pid", "--net", "--uts")
    done = subprocess.run([*enter, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{node.name}: {' '.join(command)}: {done.stderr.strip()[-600:]}")
    return done.stdout


def first_process(layout: Layout, node: Node) -> int:
    """As this machine counts it. Raises `LabError` if the node is not up."""
    outer = node_files.daemon(layout, node).pid
    try:
        children = psutil.Process(outer).children() if outer else []
    except psutil.NoSuchProcess:
        children = []
    if not children:
        raise LabError(f"node {node.name} is not up; start it first")
    return children[0].pid


def is_ready(told: str, node: Node, since: dt.datetime) -> bool:
    """Whether the Node object `told`, JSON or nothing, is of a kubelet that was ready after `since` with all GPUs."""
    if not told:
        return False
    status = json.loads(told)["status"]
    condition = next((each for each in status.get("conditions", []) if each["type"] == "Ready"), None)
    if condition is None or condition["status"] != "True":
        return False
    heard = dt.datetime.fromisoformat(condition["lastHeartbeatTime"])
    return heard >= since and status.get("allocatable", {}).get("nvidia.com/gpu") == str(node.gpus)
