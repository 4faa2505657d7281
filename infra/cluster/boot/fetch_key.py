"""Runs on a node before it joins: fetches its certificate's key from Barbican. Standard library alone."""

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any

_TIMEOUT_S = 20


def token(escrow: dict[str, Any]) -> str:
    """A token for the application credential. Raises `OSError` when Keystone cannot be reached or refuses."""
    credential = {"id": escrow["credential_id"], "secret": escrow["credential_secret"]}
    asked = {"identity": {"methods": ["application_credential"], "application_credential": credential}}
    request = urllib.request.Request(  # noqa: S310 - the stack gives the address
        f"{escrow['identity_url']}/auth/tokens",
        data=json.dumps({"auth": asked}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - likewise
        return str(answer.headers["X-Subject-Token"])


def private_key(secret_ref: str, subject: str) -> str:
    """The payload. Raises `OSError` when Barbican does not give it, `ValueError` when it is no private key."""
    request = urllib.request.Request(  # noqa: S310 - likewise
        f"{secret_ref}/payload", headers={"Accept": "text/plain", "X-Auth-Token": subject}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - likewise
        payload = str(answer.read().decode())
    if "PRIVATE KEY-----" not in payload:
        raise ValueError(f"the payload of {secret_ref} is no private key in PEM")
    return payload


def main(settings: Path, target: Path) -> None:
    """Write the key, readable by root alone, whole or not at all."""
    escrow = json.loads(settings.read_text(encoding="utf-8"))
    payload = private_key(escrow["secret_ref"], token(escrow))
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(payload)
    scratch.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
