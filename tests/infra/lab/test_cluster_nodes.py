"""What is known of a node's readiness and of its images."""

import datetime as dt
import json
import os
import tomllib

import pytest

from tests.kit.cloud import cloud_settings
from tests.lab.cluster import images, nodes, store
from tests.lab.cluster.layout import Layout
from tests.lab.cluster.plan import plan

SINCE = dt.datetime(2030, 1, 1, 12, 0, 0, tzinfo=dt.UTC)


@pytest.fixture
def layout(tmp_path):
    made = Layout(tmp_path / "cluster")
    made.images.mkdir(parents=True)
    made.store.mkdir()
    return made


def told(ready="True", heard="2030-01-01T12:00:05Z", gpus="1"):
    conditions = [{"type": "Ready", "status": ready, "lastHeartbeatTime": heard}]
    return json.dumps({"status": {"conditions": conditions, "allocatable": {"nvidia.com/gpu": gpus}}})


@pytest.mark.parametrize(
    ("node", "is_ready"),
    [
        (told(), True),
        (told(heard="2030-01-01T12:00:00Z"), True),
        (told(heard="2030-01-01T11:59:59Z"), False),  # of the kubelet before
        (told(ready="Unknown"), False),
        (told(gpus="0"), False),  # the plugin has not said what there is
        (json.dumps({"status": {}}), False),
        ("", False),
    ],
)
def test_a_node_is_ready_when_its_kubelet_said_so_lately_and_has_its_gpus(node, is_ready):
    known = plan(cloud_settings("lab")).node("os-gpu-0")
    assert nodes.is_ready(node, known, SINCE) is is_ready


def test_an_archive_is_taken_once_and_again_when_it_has_changed(layout):
    archive = layout.images / "probe.tar"
    archive.write_bytes(b"one")
    (layout.images / "pause.tar").write_bytes(b"two")
    ran = []

    def run(*command):
        ran.append(command[-1])
        return ""

    assert images.load(layout, layout.store, run) == ["pause", "probe"]
    assert images.load(layout, layout.store, run) == []
    os.utime(archive, ns=(1, 1))
    assert images.pending(layout, layout.store) == [archive]
    assert images.load(layout, layout.store, run) == ["probe"]
    assert [path.rpartition("/")[2] for path in ran] == ["pause.tar", "probe.tar", "probe.tar"]


def test_one_that_is_refused_is_asked_for_again(layout):
    (layout.images / "broken.tar").write_bytes(b"no archive")

    def refuse(*command):
        raise OSError("unrecognized image format")

    with pytest.raises(OSError, match="unrecognized"):
        images.load(layout, layout.store, refuse)
    assert [path.name for path in images.pending(layout, layout.store)] == ["broken.tar"]


def test_a_nodes_store_shares_layers_and_nothing_that_is_written_to(layout):
    node = plan(cloud_settings("lab")).node("os-gpu-0")
    files = (
        "io.containerd.content.v1.content/blobs/sha256/1",
        "io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs/a",
    )
    written = ("io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db")
    for name in (*files, *written, "lab-images.json"):
        (layout.store / name).parent.mkdir(parents=True, exist_ok=True)
        (layout.store / name).write_text(name, encoding="ascii")
    target = layout.node(node.name) / "lib/containerd"
    (target / "left-by-another").mkdir(parents=True)
    store.give(layout, node)
    assert not (target / "left-by-another").exists()
    for name in (*files, *written):
        assert (target / name).read_text(encoding="ascii") == name
        assert (target / name).samefile(layout.store / name) is (name in files)


def test_the_stores_configuration_is_toml_and_leaves_pods_to_nodes(layout):
    known = tomllib.loads(store.configuration(layout))
    assert known["root"] == str(layout.store)
    assert known["disabled_plugins"] == ["io.containerd.grpc.v1.cri"]
