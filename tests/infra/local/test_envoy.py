"""The gateway's configuration, in a real Envoy before small upstreams with real mutual TLS."""

import json
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from infra.local.envoy import Replica, bootstrap
from tests.kit.authority import Authority
from tests.kit.ports import free_ports
from tests.kit.stack import eventually
from workloads.spec.base import Credentials, Endpoint

ENVOY = Path(sys.executable).with_name("envoy")
OWN, PEER = "aws-1", "os-1"
LIMIT = 100_000
FILES = Credentials(ca=Path("/pki/ca.pem"), certificate=Path("/pki/aws-1.pem"), key=Path("/pki/aws-1.key"))


class Upstream:
    """A replica's place: mutual TLS, a health check, and answers that say who answered whom."""

    def __init__(self, site, credentials):
        self.site = site
        self.mode = "well"
        self.bodies = []  # sizes that it was sent
        self.release = threading.Event()  # lets the second event of a stream go
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                upstream.answer(self)

            def do_POST(self):
                upstream.bodies.append(len(self.rfile.read(int(self.headers["Content-Length"]))))
                upstream.answer(self)

            def version_string(self):
                return "secret/1.0"

            def log_message(self, *_):
                return

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(credentials.certificate, credentials.key)
        context.load_verify_locations(credentials.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.context = context
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def answer(self, handler):
        if handler.path == "/v2/health/ready":
            return _reply(handler, 503 if self.mode == "unwell" else 200, b"")
        if self.mode == "cut off":
            return handler.connection.shutdown(socket.SHUT_RDWR)
        if self.mode == "failing":
            return _reply(handler, 503, b"")
        if handler.path == "/v1/completions":
            return self.stream(handler)
        caller = dict(part[0] for part in handler.connection.getpeercert()["subject"])["commonName"]
        return _reply(handler, 200, f"{self.site} to {caller}".encode())

    def stream(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(b"data: one\n\n")
        self.release.wait(60)
        handler.wfile.write(b"data: two\n\n")

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    context: ssl.SSLContext

    def process_request_thread(self, request, client_address):
        try:
            secured = self.context.wrap_socket(request, server_side=True)
        except OSError:
            return self.shutdown_request(request)
        return super().process_request_thread(secured, client_address)

    def handle_error(self, *_):
        return  # connections that a test cut off


def _reply(handler, status, body):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


class Gateway:
    def __init__(self, port, admin, own, peer):
        self.port, self.admin, self.own, self.peer = port, admin, own, peer

    def ask(self, path="/v2/models/iris/infer", body=b"{}", method="POST", port=None):
        connection = HTTPConnection("127.0.0.1", port or self.port, timeout=60)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), {key.lower() for key in answer.headers}
        finally:
            connection.close()

    def all_are_well(self):
        """Whether the gateway itself holds every replica for well."""
        _, text, _ = self.ask("/clusters", body=None, method="GET", port=self.admin)
        return text.count("health_flags::healthy") == 2

    def who(self):
        """Who answers, or the status of a refusal."""
        status, text, _ = self.ask()
        return text.partition(" to ")[0] if status == 200 else status


@contextmanager
def running_gateway(folder, authority, own_identity=None):
    with ExitStack() as stack:
        own = Upstream(OWN, own_identity or authority.issue(OWN))
        stack.callback(own.close)
        peer = Upstream(PEER, authority.issue(PEER))
        stack.callback(peer.close)
        port, admin = free_ports(2)
        config = folder / "bootstrap.json"
        config.write_text(json.dumps(make(port, admin, own.port, peer.port, authority.issue(OWN))))
        log = stack.enter_context((folder / "log").open("wb"))
        process = stack.enter_context(
            subprocess.Popen(
                [
                    ENVOY,
                    "--config-path",
                    config,
                    "--concurrency",
                    "1",
                    "--use-dynamic-base-id",
                    "--log-level",
                    "warning",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        )
        stack.callback(process.terminate)
        eventually(lambda: accepting(port))
        yield Gateway(port, admin, own, peer)


def make(port=1024, admin=1025, own=1026, peer=1027, credentials=FILES, **changes):
    replicas = [Replica(PEER, Endpoint(port=peer)), Replica(OWN, Endpoint(port=own))]
    options = {"max_request_bytes": LIMIT, **changes}
    return bootstrap(
        site=OWN,
        listen=Endpoint(port=port),
        admin=Endpoint(port=admin),
        replicas=replicas,
        credentials=credentials,
        **options,
    )


def accepting(port):
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory, authority):
    with running_gateway(tmp_path_factory.mktemp("gateway"), authority) as gateway:
        yield gateway


@pytest.fixture
def gateway(shared):
    """The gateway with two replicas that are well and known to be."""
    shared.own.mode = shared.peer.mode = "well"
    eventually(lambda: shared.all_are_well() and shared.who() == OWN)
    return shared


def test_envoy_finds_the_configuration_valid(tmp_path, authority):
    config = tmp_path / "bootstrap.json"
    config.write_text(json.dumps(make(credentials=authority.issue(OWN), rtt_ms=200)))
    told = subprocess.run(
        [ENVOY, "--mode", "validate", "--config-path", config], capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stderr
    assert "deprecated" not in told.stderr.lower()


def test_the_own_site_answers_first_and_knows_who_asks(gateway):
    assert {gateway.ask()[1] for _ in range(10)} == {f"{OWN} to {OWN}"}


def test_another_site_answers_while_the_own_one_is_unwell_and_no_longer(gateway):
    gateway.own.mode = "unwell"
    eventually(lambda: gateway.who() == PEER)
    gateway.own.mode = "well"
    eventually(lambda: gateway.who() == OWN)


def test_with_nobody_well_the_answer_is_503_at_once(gateway):
    gateway.own.mode = gateway.peer.mode = "unwell"
    eventually(lambda: gateway.who() == 503)


@pytest.mark.parametrize("mode", ["cut off", "failing"])
def test_a_request_that_one_replica_drops_is_answered_by_the_other(gateway, mode):
    gateway.own.mode = mode
    assert [gateway.who() for _ in range(10)] == [PEER] * 10


def test_a_stream_is_passed_on_as_it_comes(gateway):
    gateway.own.release.clear()
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=60)
    connection.request("POST", "/v1/completions", b"{}")
    answer = connection.getresponse()
    assert answer.readline() == b"data: one\n"  # the second waits for this one to be here
    gateway.own.release.set()
    assert answer.read().endswith(b"data: two\n\n")
    connection.close()


def test_a_body_at_the_limit_goes_through_and_one_far_beyond_stops_at_the_gateway(gateway):
    assert gateway.ask(body=bytes(LIMIT))[0] == 200
    gateway.own.bodies.clear()
    assert gateway.ask(body=bytes(LIMIT + 100_000))[0] == 413
    assert not [size for size in gateway.own.bodies if size > LIMIT]


def test_nothing_tells_the_software_behind_it(gateway):
    _, _, headers = gateway.ask()
    assert headers == {"date", "content-length"}
    _, _, refused = gateway.ask(body=bytes(LIMIT + 100_000))
    assert not {"server", "x-envoy-overloaded"} & refused


def test_the_admin_port_shows_and_changes_nothing(gateway):
    assert gateway.ask("/ready", b"", "GET", gateway.admin)[0] == 200
    assert gateway.ask("/quitquitquit", b"", "POST", gateway.admin)[0] == 403
    assert gateway.ask("/config_dump", b"", "GET", gateway.admin)[0] == 403
    assert gateway.who() == OWN


@pytest.mark.parametrize("whose", ["another site's", "another authority's"])
def test_a_replica_with_a_wrong_certificate_is_not_used(tmp_path, authority, whose):
    issuer, site = (authority, PEER) if whose == "another site's" else (Authority(tmp_path / "other"), OWN)
    with running_gateway(tmp_path, authority, issuer.issue(site)) as gateway:
        eventually(lambda: gateway.who() == PEER)
        assert [gateway.who() for _ in range(5)] == [PEER] * 5
        assert gateway.own.bodies == []


def test_everything_listens_on_loopback():
    config = make()
    (listener,) = config["static_resources"]["listeners"]
    addresses = [config["admin"]["address"], listener["address"]]
    assert [a["socket_address"] for a in addresses] == [
        {"address": "127.0.0.1", "port_value": 1025},
        {"address": "127.0.0.1", "port_value": 1024},
    ]


def test_a_long_link_gets_more_time_to_connect():
    def timeouts(**options):
        (cluster,) = make(**options)["static_resources"]["clusters"]
        return {cluster["connect_timeout"], cluster["health_checks"][0]["timeout"]}

    assert timeouts() == {"2.000s"}
    assert timeouts(rtt_ms=500) == {"4.000s"}
