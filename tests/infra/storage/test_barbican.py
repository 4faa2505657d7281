"""What servers fetch their secrets with, against a cloud on loopback."""

import json
import stat
import subprocess
import sys
import urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from infra.storage import barbican, fetch_secrets
from tests.kit.listening import listening

SHARED, PEM = "Ab.c_123456789", "-----BEGIN PRIVATE KEY-----\nMAo=\n-----END PRIVATE KEY-----\n"
TEMPLATE = 'first = "${first}"\nsecond = "${second}"\n'


class Cloud(BaseHTTPRequestHandler):
    """Keystone and Barbican, as far as a server knows them."""

    payload = SHARED

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]["identity"]
        right = asked == {
            "methods": ["application_credential"],
            "application_credential": {"id": "credential", "secret": "s3cret"},
        }
        self.send_response(201 if right and self.path == "/v3/auth/tokens" else 401)
        self.send_header("X-Subject-Token", "token-of-server")
        self.end_headers()

    def do_GET(self):
        right = self.headers["X-Auth-Token"] == "token-of-server" and self.headers["Accept"] == "text/plain"
        self.send_response(200 if right and self.path.endswith("/payload") else 403)
        self.end_headers()
        self.wfile.write(self.payload.encode())

    def log_message(self, *_):
        pass


def cloud(payload=SHARED):
    return listening(HTTPServer(("127.0.0.1", 0), type("Handler", (Cloud,), {"payload": payload})))


def told(tmp_path, url, *, given="s3cret", kind=barbican.PRE_SHARED_KEY, template=TEMPLATE):
    path = tmp_path / "settings.json"
    reader = barbican.Reader(f"{url}/v3", "credential", given)
    secrets = {name: f"{url}/v1/secrets/{name}" for name in ("first", "second")}
    path.write_text(barbican.settings(reader, secrets, kind, template), encoding="utf-8")
    return path


def test_secrets_are_fetched_and_written_for_their_owner_alone(tmp_path):
    target = tmp_path / "new" / "keys.conf"
    with cloud() as url:
        fetch_secrets.main(told(tmp_path, url), target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_text(encoding="utf-8") == f'first = "{SHARED}"\nsecond = "{SHARED}"\n'
    assert [path.name for path in target.parent.iterdir()] == ["keys.conf"]


def test_a_private_key_is_written_as_it_is(tmp_path):
    with cloud(PEM) as url:
        fetch_secrets.main(told(tmp_path, url, kind=barbican.PRIVATE_KEY, template="${first}"), tmp_path / "key")
    assert (tmp_path / "key").read_text(encoding="utf-8") == PEM


def test_it_runs_by_itself_without_the_project(tmp_path):
    """As a server starts it: isolated from everything but the standard library."""
    (tmp_path / barbican.SCRIPT).write_text(barbican.script(), encoding="utf-8")
    with cloud() as url:
        command = [sys.executable, "-I", "-S", tmp_path / barbican.SCRIPT, told(tmp_path, url), tmp_path / "keys.conf"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert SHARED in (tmp_path / "keys.conf").read_text(encoding="utf-8")


def test_a_refused_credential_leaves_nothing_behind(tmp_path):
    target = tmp_path / "keys.conf"
    with cloud() as url, pytest.raises(urllib.error.HTTPError) as caught:
        fetch_secrets.main(told(tmp_path, url, given="wrong"), target)
    caught.value.close()
    assert not target.exists()


def test_a_cloud_that_is_away_leaves_nothing_behind(tmp_path):
    target = tmp_path / "keys.conf"
    with cloud() as url:
        pass
    with pytest.raises(OSError, match="refused"):
        fetch_secrets.main(told(tmp_path, url), target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        *(
            (barbican.PRE_SHARED_KEY, text)
            for text in ("", "short", "0startswithzero", 'quo"te}12345', "x" * 65, "a" * 9 + "\n")
        ),
        *((barbican.PRIVATE_KEY, text) for text in ("", "<html>", SHARED, PEM[:-20], "<p>" + PEM)),
    ],
)
def test_what_is_not_of_its_kind_is_named_by_its_address_and_written_nowhere(tmp_path, kind, payload):
    target = tmp_path / "keys.conf"
    with cloud(payload) as url, pytest.raises(ValueError, match=f"/v1/secrets/first is no {kind.name}"):
        fetch_secrets.main(told(tmp_path, url, kind=kind), target)
    assert not target.exists()


def test_the_credential_is_in_no_picture_of_its_reader():
    assert "s3cret" not in repr(barbican.Reader("https://identity/v3", "credential", "s3cret"))
