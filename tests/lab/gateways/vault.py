"""Plays Keystone and Barbican on the gateway's loopback, as far as the gateway asks them for its two keys."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

CREDENTIAL = {"id": "credential-of-lab", "secret": "secret-of-lab"}
KEYS = {"/v1/secrets/1/payload": "Lab.first_tunnel_1", "/v1/secrets/2/payload": "Lab.second_tunnel2"}


class Vault(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["auth"]["identity"]
        self.send_response(201 if asked["application_credential"] == CREDENTIAL else 401)
        self.send_header("X-Subject-Token", "token-of-lab")
        self.end_headers()

    def do_GET(self):
        key = KEYS.get(self.path) if self.headers["X-Auth-Token"] == "token-of-lab" else None
        self.send_response(200 if key else 403)
        self.end_headers()
        self.wfile.write((key or "").encode())


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Vault).serve_forever()
