"""How a server is told which secrets to fetch from Barbican while it starts. Pure.

The script is one for all servers and stands in their documents beside its settings.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files as resources
from typing import Final

SCRIPT: Final = "fetch_secrets.py"


@dataclass(frozen=True)
class Kind:
    """What a secret must be, or it is written nowhere."""

    name: str  # as in "the payload is no …"
    pattern: str  # of Python's `re`, for all of it


PRIVATE_KEY: Final = Kind(
    "private key in PEM", r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n[A-Za-z0-9+/=\s]+-----END [A-Z ]*PRIVATE KEY-----\s*"
)
PRE_SHARED_KEY: Final = Kind("pre-shared key", r"(?!0)[A-Za-z0-9._]{8,64}")
"""What AWS makes keys of, from the Site-to-Site VPN guide's tunnel options; nothing that strongSwan's syntax has a use for."""


@dataclass(frozen=True)
class Reader:
    """Whoever may read the secrets and nothing else."""

    identity_url: str  # of Keystone, with /v3
    credential_id: str
    credential_secret: str = field(repr=False)


def script() -> str:
    """The program, for Python as distributions have it."""
    return (resources(__package__) / SCRIPT).read_text(encoding="utf-8")


def settings(reader: Reader, secrets: Mapping[str, str], kind: Kind, template: str) -> str:
    """Settings of the script: Barbican's addresses by name, and a text where `${name}` stands for each. A secret itself."""
    values = {
        "identity_url": reader.identity_url,
        "credential": {"id": reader.credential_id, "secret": reader.credential_secret},
        "kind": {"name": kind.name, "pattern": kind.pattern},
        "secrets": dict(secrets),
        "template": template,
    }
    return json.dumps(values, sort_keys=True, indent=1) + "\n"
