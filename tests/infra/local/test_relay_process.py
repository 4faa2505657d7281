"""The relay as a process: its control port, its signals, and the link measured through itself."""

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from infra.local.probes import answers
from infra.local.relay import LinkStatus, measure
from infra.settings import ROOT
from tests.kit.ports import free_ports
from tests.kit.stack import eventually
from workloads.spec.base import Endpoint
from workloads.spec.errors import UserError
from workloads.spec.launch import RelayChannel, RelaySpec


def make_spec(rate_mbps=200.0, rtt_ms=4.0):
    control, here, back, target = free_ports(4)
    return RelaySpec(
        rate_mbps=rate_mbps,
        rtt_ms=rtt_ms,
        control=control,
        channels=(
            RelayChannel(
                source="aws-1", destination="os-1", listen=here, target=Endpoint(port=target), purpose="training"
            ),
            RelayChannel(
                source="os-1", destination="aws-1", listen=back, target=Endpoint(port=target), purpose="training"
            ),
        ),
    )


def start(spec, folder):
    spec.save(folder / "spec.json")
    return subprocess.Popen(
        [sys.executable, "-m", "infra.local.relay", str(folder / "spec.json")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def running(spec, folder):
    with start(spec, folder) as process:
        try:
            eventually(lambda: asyncio.run(answers(f"http://127.0.0.1:{spec.control}/status")))
            yield process
        finally:
            process.kill()


def ask(spec, path, body=None, headers=None):
    request = urllib.request.Request(f"http://127.0.0.1:{spec.control}{path}", body, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_the_control_port_tells_and_switches(tmp_path):
    spec = make_spec()
    with running(spec, tmp_path):
        status = LinkStatus.model_validate(ask(spec, "/status")[1])
        assert (status.rate_mbps, status.rtt_ms, status.outage, status.connections) == (200.0, 4.0, False, 0)
        assert [(lane.source, lane.destination) for lane in status.lanes] == [("aws-1", "os-1"), ("os-1", "aws-1")]
        assert ask(spec, "/outage", b'{"on": true}')[1]["outage"] is True
        assert ask(spec, "/status")[1]["outage"] is True
        assert ask(spec, "/outage", b'{"on": false}')[1]["outage"] is False


@pytest.fixture(scope="module")
def link(tmp_path_factory):
    spec = make_spec()
    with running(spec, tmp_path_factory.mktemp("link")):
        yield spec


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "reason"),
    [
        ("/", None, {}, 404, "/status"),
        ("/status", b"{}", {}, 404, "/outage"),
        ("/outage", b"", {}, 400, "outage: document: Invalid JSON"),
        ("/outage", b'{"on": 1.5}', {}, 400, "outage: on: .*got 1.5"),
        ("/outage", b'{"on": true, "seconds": 0}', {}, 400, "greater than 0, got 0"),
        ("/outage", b'{"on": true, "minutes": 1}', {}, 400, "minutes"),
        ("/outage", b'{"on": true}', {"Origin": "http://localhost"}, 403, "web pages"),
    ],
)
def test_a_wrong_request_is_refused_with_a_reason(link, path, body, headers, status, reason):
    got, answer = ask(link, path, body, headers)
    assert got == status
    assert re.search(reason, answer["error"])
    assert ask(link, "/status")[1]["outage"] is False


def test_the_link_is_measured_through_the_same_lanes(link):
    before = LinkStatus.model_validate(ask(link, "/status")[1])
    facts = asyncio.run(measure(link))
    after = LinkStatus.model_validate(ask(link, "/status")[1])
    assert facts.rtt_ms >= link.rtt_ms
    assert facts.rate_mbps > 0
    pings, burst, acks = 6 * 9, 3 * (8 + 200e6 / 8 * 0.15), 9
    for old, new in zip(before.lanes, after.lanes, strict=True):
        assert new.delivered["probe"] - old.delivered.get("probe", 0) == pings + burst + acks
        assert new.delivered["training"] == 0


def test_a_link_that_does_not_run_cannot_be_measured():
    spec = make_spec()
    with pytest.raises(UserError, match=f"no link answers on port {spec.control}"):
        asyncio.run(measure(spec))


def test_sigterm_ends_it_with_everything_it_had_open(tmp_path):
    spec = make_spec()
    with running(spec, tmp_path) as process, socket.create_connection(("127.0.0.1", spec.channels[0].listen)):
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=30)
        assert (process.returncode, said.count("\n")) == (0, 1)
        for port in (spec.control, *(channel.listen for channel in spec.channels)):
            socket.create_server(("127.0.0.1", port)).close()


@pytest.mark.parametrize("which", ["control", "channel"])
def test_a_port_in_use_is_one_line(tmp_path, which):
    spec = make_spec()
    port = spec.control if which == "control" else spec.channels[1].listen
    with socket.create_server(("127.0.0.1", port)), start(spec, tmp_path) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith(f"error: port {port} of the link")
    assert "in use" in said
    assert said.count("\n") == 1
