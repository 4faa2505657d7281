"""Runs on the gateway before strongSwan: fetches the tunnels' pre-shared keys from Barbican. Standard library alone."""

import json
import os
import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TIMEOUT_S = 20
_KEY = re.compile(r"(?!0)[A-Za-z0-9._]{8,64}")
"""What AWS makes keys of, from the Site-to-Site VPN guide's tunnel options; nothing that strongSwan's syntax has a use for."""


def token(identity_url: str, credential: Mapping[str, str]) -> str:
    """A token for the application credential. Raises `OSError` when Keystone cannot be reached or refuses."""
    asked = {"identity": {"methods": ["application_credential"], "application_credential": dict(credential)}}
    request = urllib.request.Request(  # noqa: S310 - the stack gives the address
        f"{identity_url}/auth/tokens",
        data=json.dumps({"auth": asked}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - likewise
        return str(answer.headers["X-Subject-Token"])


def key(secret_ref: str, subject: str) -> str:
    """A secret's payload. Raises `OSError` when Barbican does not give it, `ValueError` when it is no key of AWS's."""
    request = urllib.request.Request(  # noqa: S310 - likewise
        f"{secret_ref}/payload", headers={"Accept": "text/plain", "X-Auth-Token": subject}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - likewise
        payload = str(answer.read().decode())
    if not _KEY.fullmatch(payload):
        raise ValueError(f"the payload of {secret_ref} is no pre-shared key")
    return payload


def secrets(tunnels: list[dict[str, Any]], keys: Mapping[str, str]) -> str:
    """The section of strongSwan, with both ends' identities for each key."""
    sections = [
        f"  ike-{tunnel['name']} {{\n"
        + "".join(f"    id-{index} = {who}\n" for index, who in enumerate(tunnel["ids"], 1))
        + f'    secret = "{keys[tunnel["name"]]}"\n  }}\n'
        for tunnel in tunnels
    ]
    return f"secrets {{\n{''.join(sections)}}}\n"


def main(settings: Path, target: Path) -> None:
    """Fetch every key, then write them at once, readable by their owner alone."""
    values = json.loads(settings.read_text(encoding="utf-8"))
    subject = token(values["identity_url"], values["credential"])
    keys = {tunnel["name"]: key(tunnel["secret_ref"], subject) for tunnel in values["tunnels"]}
    scratch = target.with_suffix(".tmp")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(secrets(values["tunnels"], keys))
    scratch.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
