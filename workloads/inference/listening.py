"""A server's socket, taken before anything is promised, so that a port in use is one clear line."""

import socket
from ipaddress import ip_address

from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError

BACKLOG = 512


def listen(
    endpoint: Endpoint, credentials: Credentials | None = None, *, tells_health_alone: bool = False
) -> socket.socket:
    """A listening TCP socket. One that `tells_health_alone` may be off loopback in plain text.

    Raises:
        UserError: the address is taken, is not this machine's, or is off loopback without credentials.
    """
    if credentials is None and not tells_health_alone and not _is_loopback(endpoint.host):
        raise UserError(f"{endpoint}: plain text is served on loopback only; give credentials, or listen on 127.0.0.1")
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((endpoint.host, endpoint.port))
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        reason = error.strerror or str(error)
        raise UserError(f"cannot listen on {endpoint}: {reason}; stop what holds it, or choose another port") from None
    return server


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
