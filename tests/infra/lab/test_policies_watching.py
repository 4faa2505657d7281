"""The enforcement follows the API through endings, gaps and absences."""

import asyncio
import base64
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit.authority import Authority
from tests.lab.policies import enforcement, watching
from tests.lab.policies.access import client
from tests.lab.policies.scripted_api import LIMIT_S, Server, serving, write_kubeconfig
from tests.lab.policies.watching import Mirror
from workloads.spec.errors import UserError

PATH = "/api/v1/namespaces"
Raw = dict[str, Any]


def item(name: str, version: int) -> Raw:
    return {"metadata": {"name": name, "resourceVersion": str(version)}}


def event(kind: str, name: str, version: int) -> Raw:
    return {"type": kind, "object": item(name, version)}


@pytest.fixture
def kubeconfig(tmp_path):
    return lambda port: write_kubeconfig(tmp_path / "kubeconfig", port)


@pytest.fixture(autouse=True)
def _eager(monkeypatch):
    monkeypatch.setattr(watching, "_PAUSE_S", 0.01)


async def followed(path, done: Callable[[Mirror], bool]) -> Mirror:
    """A mirror that has followed until `done`."""
    mirror = Mirror(PATH, asyncio.Event())
    async with client(path) as api, asyncio.timeout(LIMIT_S):
        following = asyncio.create_task(mirror.follow(api))
        while not done(mirror):
            await mirror.told.wait()
            mirror.told.clear()
        following.cancel()
    return mirror


def names(mirror: Mirror) -> set[str]:
    return {name for _, name in mirror.objects}


def test_a_list_and_the_changes_after_it(kubeconfig):
    changes = [event("ADDED", "new", 11), event("DELETED", "old", 12), event("MODIFIED", "stays", 13)]
    script = Server([(10, [item("old", 3), item("stays", 4)])], [changes])
    with serving(script) as port:
        mirror = asyncio.run(followed(kubeconfig(port), lambda mirror: mirror.version == "13"))
    assert names(mirror) == {"new", "stays"}
    assert script.asked[:2] == ["list", "10"]


def test_a_watch_that_ends_goes_on_where_it_was_also_by_a_bookmark(kubeconfig):
    script = Server([(10, [])], [[event("ADDED", "one", 11), event("BOOKMARK", "", 20)], [event("ADDED", "two", 21)]])
    with serving(script) as port:
        asyncio.run(followed(kubeconfig(port), lambda mirror: names(mirror) == {"one", "two"}))
    assert script.asked[:3] == ["list", "10", "20"]


@pytest.mark.parametrize("gone", [410, 504, [{"type": "ERROR", "object": {"code": 410, "message": "too old"}}]])
def test_a_version_that_the_server_does_not_have_is_listed_anew(kubeconfig, gone):
    script = Server([(10, [item("old", 3)]), (5, [item("new", 4)])], [gone])
    with serving(script) as port:
        asyncio.run(followed(kubeconfig(port), lambda mirror: names(mirror) == {"new"}))
    assert script.asked[:3] == ["list", "10", "list"]


def test_what_is_known_stays_while_the_server_is_away(kubeconfig):
    first = Server([(10, [item("known", 3)])], [[event("ADDED", "later", 11)]])

    async def through_an_absence() -> Mirror:
        mirror = Mirror(PATH, asyncio.Event())
        with serving(first) as port:
            path = kubeconfig(port)
            api = client(path)
            following = asyncio.create_task(mirror.follow(api))
            while mirror.version != "11":
                await mirror.told.wait()
                mirror.told.clear()
        while not mirror.away:
            await mirror.told.wait()
            mirror.told.clear()
        assert names(mirror) == {"known", "later"}
        second = Server([(0, [])], [[event("DELETED", "known", 12)]])
        with serving(second, port):
            while mirror.version != "12":
                await mirror.told.wait()
                mirror.told.clear()
            following.cancel()
            await api.aclose()
        assert second.asked[0] == "11"
        return mirror

    async def limited() -> Mirror:
        async with asyncio.timeout(LIMIT_S):
            return await through_an_absence()

    assert names(asyncio.run(limited())) == {"later"}


def test_rules_are_made_when_the_whole_cluster_is_known_and_only_when_they_change(kubeconfig, monkeypatch):
    """The server gives the same list for each kind; what counts is how often nft is asked."""
    scripts: list[str] = []
    everything = asyncio.Event()

    def apply(script: str) -> None:
        scripts.append(script)
        everything.set()

    monkeypatch.setattr(enforcement, "apply", apply)
    server = Server([(10, [])], [])

    async def run(path) -> None:
        enforcing = asyncio.create_task(enforcement.enforce(path, "node"))
        async with asyncio.timeout(LIMIT_S):
            await everything.wait()
        enforcing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await enforcing

    with serving(server) as port:
        asyncio.run(run(kubeconfig(port)))
    assert len(scripts) == 1
    assert server.asked.count("list") == 3


@pytest.mark.parametrize("inline", [False, True], ids=["by files", "inline"])
def test_the_server_knows_the_client_by_its_certificate_and_the_other_way_round(tmp_path, inline):
    authority = Authority(tmp_path / "authority")
    server, user = authority.issue("server", address="127.0.0.1"), authority.issue("user")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(server.certificate, server.key)
    tls.load_verify_locations(server.ca)
    tls.verify_mode = ssl.CERT_REQUIRED

    def entry(key: str, path: Path) -> dict[str, str]:
        if inline:
            return {f"{key}-data": base64.b64encode(path.read_bytes()).decode()}
        return {key: str(path.relative_to(tmp_path))}

    known = entry("certificate-authority", user.ca)
    own = {**entry("client-certificate", user.certificate), **entry("client-key", user.key)}
    with serving(Server([(10, [item("one", 3)])], []), tls=tls) as port:
        path = write_kubeconfig(tmp_path / "kubeconfig", port, known, own)
        assert names(asyncio.run(followed(path, lambda mirror: mirror.complete))) == {"one"}


@pytest.mark.parametrize(
    ("text", "said"), [(None, "No such file"), ("{}", "none of its contexts"), ("a: [", "it is no YAML")]
)
def test_a_kubeconfig_that_does_not_serve_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=said):
        client(path)
