"""Runs on the gateway: `collect` writes how tunnels and BGP are, `serve` tells it over HTTP. Standard library alone."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_INTERVAL_S, _STALE_S = 5, 30
_SAS = ("swanctl", "--list-sas")
_BGP = ("vtysh", "-c", "show bgp ipv4 unicast summary json")


def state(associations: str, bgp: str, tunnels: Mapping[str, str], now: float) -> dict[str, Any]:
    """How each tunnel is, from what strongSwan and FRR print; `tunnels` maps a name to AWS's inside address.

    The link works while one tunnel carries traffic; with one of two it is degraded, and worth a look.
    """
    established = set(re.findall(r"^(\S+): #\d+, ESTABLISHED, IKEv2", associations, re.MULTILINE))
    try:
        peers = json.loads(bgp).get("peers", {})
    except ValueError:
        peers = {}
    rows = {
        name: {
            "ipsec": name in established,
            "bgp": peers.get(neighbor, {}).get("state", "Down"),
            "prefixes": peers.get(neighbor, {}).get("pfxRcd", 0),
        }
        for name, neighbor in tunnels.items()
    }
    working = [name for name, row in rows.items() if row["ipsec"] and row["bgp"] == "Established"]
    return {"healthy": bool(working), "degraded": len(working) < len(rows), "tunnels": rows, "at": now}


def judged(text: str, now: float) -> dict[str, Any]:
    """The state as it is told now: what nobody has written lately is not healthy."""
    try:
        known = dict(json.loads(text))
    except ValueError:
        return {"healthy": False, "degraded": True, "tunnels": {}, "stale": True}
    stale = now - known["at"] > _STALE_S
    return {**known, "stale": stale, "healthy": known["healthy"] and not stale}


def metrics(known: Mapping[str, Any]) -> str:
    """The same as Prometheus reads it."""
    lines = [f"isthmus_link_healthy {int(known['healthy'])}"]
    for name, row in known["tunnels"].items():
        lines += [
            f'isthmus_tunnel_ipsec_up{{tunnel="{name}"}} {int(row["ipsec"])}',
            f'isthmus_tunnel_bgp_up{{tunnel="{name}"}} {int(row["bgp"] == "Established")}',
            f'isthmus_tunnel_prefixes{{tunnel="{name}"}} {row["prefixes"]}',
        ]
    return "\n".join(lines) + "\n"


def answer(path: str, text: str, now: float) -> tuple[int, str, str]:
    """Status, kind and body for a path."""
    known = judged(text, now)
    if path == "/metrics":
        return HTTPStatus.OK, "text/plain; version=0.0.4", metrics(known)
    if path == "/healthz":
        status = HTTPStatus.OK if known["healthy"] else HTTPStatus.SERVICE_UNAVAILABLE
        return status, "application/json", json.dumps(known) + "\n"
    return HTTPStatus.NOT_FOUND, "text/plain", "ask for /healthz or /metrics\n"


def server(port: int, source: Path) -> ThreadingHTTPServer:
    """A server that reads `source` at each request."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # of a client that says nothing

        def do_GET(self) -> None:
            text = source.read_text(encoding="utf-8") if source.exists() else ""
            status, kind, body = answer(self.path, text, time.time())
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body.encode())))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: a probe every few seconds would drown the journal."""

    return ThreadingHTTPServer(("0.0.0.0", port), Handler)  # noqa: S104 - the packet filter says who reaches it


def _printed(command: tuple[str, ...]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_INTERVAL_S, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _collect(tunnels: Mapping[str, str], target: Path) -> None:
    while True:
        scratch = target.with_suffix(".tmp")
        scratch.write_text(json.dumps(state(_printed(_SAS), _printed(_BGP), tunnels, time.time())), encoding="utf-8")
        scratch.replace(target)
        time.sleep(_INTERVAL_S)


if __name__ == "__main__":
    task, settings, where = sys.argv[1], json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), Path(sys.argv[3])
    if task == "collect":
        _collect(settings["tunnels"], where)
    else:
        server(settings["port"], where).serve_forever()
