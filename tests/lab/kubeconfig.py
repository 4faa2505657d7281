"""What a kubeconfig says of one cluster, and TLS by it."""

import base64
import binascii
import ssl
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from workloads.spec.errors import UserError

_UNSUPPORTED: Final = ("exec", "auth-provider", "username")


@dataclass(frozen=True)
class Access:
    """An API server and how to speak with it."""

    server: str
    authority: str  # PEM
    certificate: str = ""  # PEM, of a client
    key: str = ""  # PEM
    token: str = ""
    namespace: str = ""  # of objects that name none

    def tls(self) -> ssl.SSLContext:
        """Raises `UserError` where a certificate or key cannot be read; says none of its content."""
        try:
            context = ssl.create_default_context(cadata=self.authority)
            if self.certificate:
                # the library takes a client's certificate from a file alone; it is gone before the first request
                with tempfile.NamedTemporaryFile("w", encoding="ascii") as file:
                    file.write(f"{self.certificate}\n{self.key}\n")
                    file.flush()
                    context.load_cert_chain(file.name)
        except (ssl.SSLError, ValueError):
            raise UserError(
                f"kubeconfig of {self.server}: a certificate or the key is no PEM, or they do not fit"
            ) from None
        return context


def access(given: str, context: str = "") -> Access:
    """What a kubeconfig says, given as its text or as a file's path from where the engine starts plugins.

    Raises:
        UserError: it is no kubeconfig, or wants a way to log in that is not here.
    """
    text, folder = (given, Path()) if ":" in given else _read(Path(given).expanduser())
    try:
        config = yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError("kubeconfig: it is no YAML; give a cluster's own, or the path of its file") from None
    if not isinstance(config, Mapping):
        raise UserError("kubeconfig: it is no mapping; give a cluster's own, or the path of its file")
    chosen = _entry(config, "contexts", context or str(config.get("current-context", "")), "context")
    cluster = _entry(config, "clusters", str(chosen.get("cluster")), "cluster")
    user = _entry(config, "users", str(chosen.get("user")), "user")
    server = str(cluster.get("server", ""))
    if refused := [key for key in _UNSUPPORTED if key in user]:
        raise UserError(
            f"kubeconfig of {server}: {refused[0]} is no way in for the lab; give a client certificate or a token"
        )
    return Access(
        server.rstrip("/"),
        _pem(cluster, "certificate-authority", folder, server),
        _pem(user, "client-certificate", folder, server),
        _pem(user, "client-key", folder, server),
        str(user.get("token", "")),
        str(chosen.get("namespace", "")),
    )


def _read(path: Path) -> tuple[str, Path]:
    try:
        return path.read_text(encoding="utf-8"), path.parent
    except OSError as error:
        raise UserError(f"kubeconfig {str(path)!r:.120}: {error.strerror}, seen from {Path.cwd()}") from None


def _entry(config: Mapping[str, Any], section: str, name: str, key: str) -> Mapping[str, Any]:
    entries: Sequence[Mapping[str, Any]] = config.get(section) or []
    found = next((entry for entry in entries if entry.get("name") == name), None)
    if found is None:
        there = ", ".join(str(entry.get("name")) for entry in entries) or "none"
        raise UserError(f"kubeconfig: {name!r} is none of its {section} ({there})")
    value: Mapping[str, Any] = found.get(key) or {}
    return value


def _pem(section: Mapping[str, Any], key: str, folder: Path, server: str) -> str:
    try:
        if data := section.get(f"{key}-data"):
            return base64.b64decode(data, validate=True).decode("ascii")
        if path := section.get(key):
            return (folder / str(path)).read_text(encoding="ascii")
    except (binascii.Error, UnicodeDecodeError):
        raise UserError(f"kubeconfig of {server}: {key} is no PEM text") from None
    except OSError as error:
        raise UserError(f"kubeconfig of {server}: {key} {section[key]!r}: {error.strerror}") from None
    return ""
