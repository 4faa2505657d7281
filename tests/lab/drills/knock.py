"""Sent into a probe as text: `knock.py ADDRESS PORT http|tls`. Needs nothing but Python."""

import socket
import ssl
import sys

LIMIT_S = 5


def main(address: str, port: str, way: str) -> str:
    try:
        line = socket.create_connection((address, int(port)), LIMIT_S)
    except TimeoutError:
        return "dropped no answer to the first packet"
    except OSError as error:
        return f"refused {error}"
    with line:
        return over_tls(line) if way == "tls" else in_plain_text(line)


def in_plain_text(line: socket.socket) -> str:
    try:
        line.sendall(b"GET /v2/health/ready HTTP/1.1\r\nhost: inference\r\nconnection: close\r\n\r\n")
        said = line.recv(200)
    except OSError as error:
        return f"refused {error}"
    return f"answered {said.splitlines()[0]!r}" if said else "refused closed without a word"


def over_tls(line: socket.socket) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(line) as secure:
            # TLS 1.3: the other side says only now what it thinks of a client without certificate
            secure.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            secure.settimeout(LIMIT_S)
            said = secure.recv(200)
    except OSError as error:
        return f"tls-refused {error}"
    return "answered" if said else "tls-refused closed without a word"


if __name__ == "__main__":
    print(main(*sys.argv[1:]))  # noqa: T201
