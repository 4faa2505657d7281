"""Who may talk: mutual TLS by the platform's certificates, or plain text that never leaves the machine."""

import ipaddress
import ssl
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import cast

import grpc

from workloads.spec.base import Credentials, Endpoint
from workloads.spec.errors import UserError
from workloads.sync.frame import RefusedError
from workloads.sync.ledger import LOG

_NAMES = "x509_subject_alternative_name"


class Security:
    """How site `site` proves itself and what it asks of others. Keys are read from files, once.

    Raises:
        UserError: a file is missing or is not what it should be, or plain text is asked for off loopback.
    """

    def __init__(self, site: str, credentials: Credentials | None, endpoints: Iterable[Endpoint]) -> None:
        self._server: grpc.ServerCredentials | None = None
        self._client: grpc.ChannelCredentials | None = None
        if credentials is None:
            _ensure_loopback(site, endpoints)
            LOG.warning("%s: the exchange speaks plain text, on loopback only; give credentials for TLS", site)
            return
        _ensure_usable(site, credentials)
        ca, certificate, key = (
            path.read_bytes() for path in (credentials.ca, credentials.certificate, credentials.key)
        )
        self._server = grpc.ssl_server_credentials([(key, certificate)], ca, require_client_auth=True)
        self._client = grpc.ssl_channel_credentials(ca, key, certificate)

    def listen(self, server: grpc.Server, endpoint: Endpoint) -> None:
        """Bind `server`. Raises `RuntimeError` as gRPC does."""
        if self._server is None:
            server.add_insecure_port(str(endpoint))
        else:
            server.add_secure_port(str(endpoint), self._server)

    def channel(self, peer: str, endpoint: Endpoint, options: list[tuple[str, int]]) -> grpc.Channel:
        """A channel to `endpoint` that only a server with the certificate of `peer` can answer."""
        if self._client is None:
            return grpc.insecure_channel(str(endpoint), options)
        return grpc.secure_channel(str(endpoint), self._client, [*options, ("grpc.ssl_target_name_override", peer)])

    def check_caller(self, claimed: str, context: grpc.ServicerContext, cohort: Collection[str]) -> None:
        """Raises `RefusedError`: the caller is not of the cohort, or its certificate is not that of the site it claims."""
        if claimed not in cohort:
            raise RefusedError("stranger", f"{claimed} is not one of {sorted(cohort)}")
        if self._server is None:
            return
        proven = cast("Mapping[str, Sequence[bytes]]", context.auth_context())  # its stub says otherwise
        names = {name.decode() for name in proven.get(_NAMES, ())}
        if claimed not in names:
            raise RefusedError("certificate", f"the caller says {claimed}, its certificate {sorted(names)}")


def _ensure_loopback(site: str, endpoints: Iterable[Endpoint]) -> None:
    for endpoint in endpoints:
        if not _is_loopback(endpoint.host):
            raise UserError(
                f"site {site}: exchange at {endpoint} would speak plain text; only loopback may: give credentials"
            )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ensure_usable(site: str, credentials: Credentials) -> None:
    """Name what is wrong here: gRPC reports a bad file as a handshake that fails, later and without saying why."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(credentials.ca)
        context.load_cert_chain(credentials.certificate, credentials.key)
    except OSError as error:  # ssl.SSLError is one
        raise UserError(
            f"site {site}: credentials {credentials.certificate}, {credentials.key}, {credentials.ca}: "
            f"{error.strerror or error}; they are written by `pulumi up`"
        ) from None
