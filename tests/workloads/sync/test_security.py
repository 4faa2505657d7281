"""Who is let in: the sites of the run, by their certificates, over TLS 1.3."""

import logging
import socket
import ssl

import pytest
import torch

from tests.kit.authority import Authority
from tests.workloads.sync.cohort import HANG_S, make_exchange, ports_of, together
from tests.workloads.sync.turns import learn, make_synchronizer
from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError
from workloads.sync import Exchange


@pytest.fixture
def ports():
    return ports_of("aws-1", "os-1")


def tls_context(authority, credentials=None):
    context = ssl.create_default_context(cafile=authority.issue("probe").ca)
    context.check_hostname = True
    context.set_alpn_protocols(["h2"])
    if credentials:
        context.load_cert_chain(credentials.certificate, credentials.key)
    return context


def read_answer(connection):
    """In TLS 1.3 a client hears of a refusal when it reads; an end without any answer is one as well."""
    if not connection.recv(1):
        raise ConnectionResetError


def test_sites_with_certificates_of_the_platform_merge(ports, authority):
    def run(site):
        with make_exchange(site, ports, credentials=authority.issue(site)) as exchange:
            assert exchange.rendezvous([], HANG_S) == 0
            rounds = make_synchronizer(exchange, ports, torch.zeros(100))
            learn(rounds, torch.zeros(100), 1, 2)
            assert exchange.drain(HANG_S)
            return rounds.digest(), exchange.refused.total()

    results = together(lambda: run("aws-1"), lambda: run("os-1"))
    assert results[0] == results[1]
    assert results[0][1] == 0


def test_connections_speak_tls_1_3(ports, authority):
    with make_exchange("aws-1", ports, credentials=authority.issue("aws-1")):
        raw = socket.create_connection(("127.0.0.1", ports["aws-1"]), timeout=HANG_S)
        context = tls_context(authority, authority.issue("os-1"))
        with context.wrap_socket(raw, server_hostname="aws-1") as connection:
            assert connection.version() == "TLSv1.3"


def test_a_caller_without_a_certificate_is_refused(ports, authority):
    with make_exchange("aws-1", ports, credentials=authority.issue("aws-1")):
        raw = socket.create_connection(("127.0.0.1", ports["aws-1"]), timeout=HANG_S)
        with (
            tls_context(authority).wrap_socket(raw, server_hostname="aws-1") as connection,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            read_answer(connection)


def test_a_certificate_of_another_authority_is_refused(ports, authority, tmp_path):
    foreign = Authority(tmp_path / "foreign").issue("os-1")
    with (
        make_exchange("aws-1", ports, credentials=authority.issue("aws-1")) as ours,
        make_exchange("os-1", ports, credentials=foreign) as theirs,
    ):
        for exchange in (ours, theirs):
            with pytest.raises(UserError, match="no word from"):
                exchange.rendezvous([], 0.3)
        assert ours.refused["certificate"] > 0


def test_a_caller_that_shows_another_site_s_certificate_is_refused_and_counted(ports, authority):
    with (
        make_exchange("aws-1", ports, credentials=authority.issue("aws-1")) as ours,
        make_exchange("os-1", ports, credentials=authority.issue("os-2")) as liar,
    ):
        with pytest.raises(UserError, match=r"the caller says os-1, its certificate \['os-2'\]"):
            liar.rendezvous([], 0.3)
        assert ours.refused["certificate"] > 0


def test_a_server_that_shows_another_site_s_certificate_is_refused_and_counted(ports, authority):
    with (
        make_exchange("aws-1", ports, credentials=authority.issue("aws-1")) as ours,
        make_exchange("os-1", ports, credentials=authority.issue("os-2")) as liar,
    ):
        with pytest.raises(UserError, match="no word from os-1"):
            ours.rendezvous([], 0.3)
        assert ours.refused["certificate"] > 0
        assert liar.refused.total() == 0


def test_plain_text_says_so_at_the_start(ports, caplog):
    with caplog.at_level(logging.WARNING), make_exchange("aws-1", ports):
        assert "aws-1: the exchange speaks plain text, on loopback only" in caplog.text


@pytest.mark.parametrize(("listen", "peer"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "10.0.0.7")])  # noqa: S104
def test_plain_text_stays_on_loopback(ports, listen, peer):
    exchange = Exchange(
        run_id="run-1",
        site="aws-1",
        listen=Endpoint(host=listen, port=ports["aws-1"]),
        peers={"os-1": Endpoint(host=peer, port=ports["os-1"])},
        credentials=None,
        max_frame_bytes=1,
    )
    with pytest.raises(UserError, match=r"site aws-1: exchange at .* would speak plain text; only loopback may"):
        exchange.start()


@pytest.mark.parametrize("lost", ["ca", "certificate", "key"])
def test_credentials_that_cannot_be_used_are_named(ports, authority, tmp_path, lost):
    good = authority.issue("aws-1")
    for path in (tmp_path / "absent.pem", tmp_path / "empty.pem"):
        if path.stem == "empty":
            path.write_text("")
        exchange = make_exchange("aws-1", ports, credentials=Credentials(**{**good.model_dump(), lost: path}))
        with pytest.raises(UserError, match=f"site aws-1: credentials .*{path.name}.*written by `pulumi up`"):
            exchange.start()
