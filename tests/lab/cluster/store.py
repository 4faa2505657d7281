"""One store of images, of which every node's is a copy.

Layers and blobs are written once and never changed, so copies share them by hard links: a node more costs neither time
nor disk, and each cluster begins without containers of another.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.lab.cluster import images
from tests.lab.cluster.layout import Layout
from tests.lab.cluster.node_files import CTR
from tests.lab.cluster.plan import Node
from tests.lab.daemons import Daemon, LabError, until

_LIMIT_S = 60
_SHARED: Final = ("io.containerd.content.v1.content/blobs", "io.containerd.snapshotter.v1.overlayfs/snapshots")
# what it mounts and where it listens is its own, and gone with it
_SERVE = 'mount -t tmpfs tmpfs /run && exec containerd --config "$1"'


def configuration(layout: Layout) -> str:
    return f"""\
version = 2
root = "{layout.store}"
state = "/run/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[plugins."io.containerd.internal.v1.opt"]
  path = "{layout.store}/opt"
"""


def refresh(layout: Layout) -> None:
    """The archives that are new or have changed, taken in. Raises `LabError`."""
    if not images.pending(layout, layout.store):
        return
    layout.store.mkdir(parents=True, exist_ok=True)
    layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = layout.run / "images.toml"
    path.write_text(configuration(layout), encoding="utf-8")
    daemon = Daemon("images", ("unshare", "--mount", "sh", "-c", _SERVE, "sh", path), layout.run)
    daemon.start()
    try:
        until("the store of images", lambda: _answers(daemon), _LIMIT_S, daemon)
        images.load(layout, layout.store, lambda *command: _beside(daemon, *command))
    finally:
        daemon.stop()


def give(layout: Layout, node: Node) -> None:
    """A node that has never run gets a copy. Raises `LabError`."""
    target = layout.node(node.name) / "lib/containerd"
    _run("rm", "-rf", str(target))
    if not layout.store.exists():
        return
    hidden = {str(layout.store / shared) for shared in _SHARED}
    shutil.copytree(
        layout.store,
        target,
        symlinks=True,
        ignore=lambda folder, names: [name for name in names if str(Path(folder, name)) in hidden],
    )
    for shared in _SHARED:
        if (layout.store / shared).exists():
            _run("cp", "--archive", "--link", str(layout.store / shared), str(target / shared))


def _answers(daemon: Daemon) -> bool:
    try:
        _beside(daemon, *CTR, "version")
    except LabError:
        return False
    return True


def _beside(daemon: Daemon, *command: str) -> str:
    return _run("nsenter", f"--target={daemon.pid}", "--mount", *command)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip()[-600:]}")
    return done.stdout
