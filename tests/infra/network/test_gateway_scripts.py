"""What tells of the gateway's health, over HTTP on loopback."""

import json
import urllib.error
import urllib.request

import pytest

from infra.network.appliance import health
from tests.kit.listening import listening

TUNNELS = {"aws-1": "169.254.100.1", "aws-2": "169.254.100.5"}
SAS = """\
aws-2: #2, CONNECTING, IKEv2, 55aef053b19a90e2_i* 0000000000000000_r
  local  '%any' @ 10.64.0.10[500]
aws-1: #1, ESTABLISHED, IKEv2, 089934a54531186e_i* 0000000000000001_r
  local  '192.0.2.20' @ 10.64.0.10[4500]
  aws-1: #1, reqid 1, INSTALLED, TUNNEL-in-UDP, ESP:AES_GCM_16-256
"""


def peers(first, second):
    return json.dumps(
        {"peers": {"169.254.100.1": {"state": first, "pfxRcd": 1}, "169.254.100.5": {"state": second, "pfxRcd": 0}}}
    )


@pytest.mark.parametrize(
    ("first", "second", "healthy", "degraded"),
    [
        ("Established", "Idle", True, True),
        ("Active", "Established", False, True),  # BGP over a tunnel that is not there is a remnant
    ],
)
def test_one_working_tunnel_is_a_link(first, second, healthy, degraded):
    state = health.state(SAS, peers(first, second), TUNNELS, 100.0)
    assert (state["healthy"], state["degraded"]) == (healthy, degraded)
    assert state["tunnels"]["aws-1"] == {"ipsec": True, "bgp": first, "prefixes": 1}
    assert state["tunnels"]["aws-2"]["ipsec"] is False


def test_both_tunnels_are_a_whole_link():
    state = health.state(SAS.replace("CONNECTING", "ESTABLISHED"), peers("Established", "Established"), TUNNELS, 1.0)
    assert (state["healthy"], state["degraded"]) == (True, False)


@pytest.mark.parametrize("printed", ["", "not json"])
def test_tools_that_say_nothing_mean_that_nothing_works(printed):
    state = health.state("", printed, TUNNELS, 1.0)
    assert state["healthy"] is False
    assert {row["bgp"] for row in state["tunnels"].values()} == {"Down"}


def test_an_old_state_is_no_news():
    text = json.dumps(health.state(SAS, peers("Established", "Idle"), TUNNELS, 100.0))
    assert health.judged(text, 110.0)["healthy"] is True
    assert health.judged(text, 131.0) == {**json.loads(text), "stale": True, "healthy": False}
    assert health.judged("", 131.0)["healthy"] is False


def ask(url):
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_the_endpoint_tells_what_was_collected(tmp_path):
    source = tmp_path / "state.json"
    with listening(health.server(0, source)) as url:
        assert ask(f"{url}/healthz")[0] == 503, "nothing was collected yet"
        now = 4_000_000_000.0  # later than any clock here
        source.write_text(json.dumps(health.state(SAS, peers("Established", "Idle"), TUNNELS, now)), encoding="utf-8")
        status, body = ask(f"{url}/healthz")
        assert (status, json.loads(body)["tunnels"]["aws-1"]["bgp"]) == (200, "Established")
        assert ask(f"{url}/metrics") == (
            200,
            (
                "isthmus_link_healthy 1\n"
                'isthmus_tunnel_ipsec_up{tunnel="aws-1"} 1\n'
                'isthmus_tunnel_bgp_up{tunnel="aws-1"} 1\n'
                'isthmus_tunnel_prefixes{tunnel="aws-1"} 1\n'
                'isthmus_tunnel_ipsec_up{tunnel="aws-2"} 0\n'
                'isthmus_tunnel_bgp_up{tunnel="aws-2"} 0\n'
                'isthmus_tunnel_prefixes{tunnel="aws-2"} 0\n'
            ),
        )
        assert ask(f"{url}/etc/passwd")[0] == 404
