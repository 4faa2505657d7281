"""How this machine reaches Python's packages, told to a build in a way that leaves no trace in an image. Pure.

What a build gets is what the project's Dockerfiles take: addresses as arguments of their build stage, whatever is
secret or this machine's own as mounted files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

_PIP_LINE = re.compile(r"(?P<key>\S+)='(?P<value>.*)'")
_AUTHORITIES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


@dataclass(frozen=True)
class Indexes:
    """Arguments of a build, the text of a netrc file, and the certificates of authorities that an index may show."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    netrc: str = ""
    authorities: Path | None = None


def indexes(environment: Mapping[str, str], pip_config: str, netrc: str) -> Indexes:
    """Of the environment, of what `pip config list` prints, and of the user's netrc file.

    Credentials within an address become lines of netrc: arguments are kept in the history of a build.
    """
    configured = {line["key"].rpartition(".")[2]: line["value"] for line in _PIP_LINE.finditer(pip_config)}
    pip = environment.get("PIP_INDEX_URL") or configured.get("index-url")
    uv = environment.get("UV_DEFAULT_INDEX") or environment.get("UV_INDEX_URL") or pip
    arguments, logins = {}, [netrc] if netrc else []
    for name, address in (("PIP_INDEX_URL", pip), ("UV_INDEX_URL", uv)):
        if address:
            arguments[name], login = _apart(address)
            logins += [login] if login and login not in logins else []
    named = [environment[name] for name in _AUTHORITIES if environment.get(name)] + [configured.get("cert", "")]
    found = next((Path(name) for name in named if name), None)
    return Indexes(arguments, "\n".join(logins), found)


def _apart(address: str) -> tuple[str, str | None]:
    """The address without its credentials, and those as a line of netrc."""
    parts = urlsplit(address)
    if parts.username is None:
        return address, None
    host = parts.netloc.rpartition("@")[2]
    login = f"machine {parts.hostname} login {unquote(parts.username)} password {unquote(parts.password or '')}"
    return urlunsplit(parts._replace(netloc=host)), login
