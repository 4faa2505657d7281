"""Runs on a server while it starts: writes a file with secrets that lie in Barbican. Standard library alone.

The same on a node, for its certificate's private key, and on the gateway, for the tunnels' pre-shared keys. What is
fetched, what it must look like and where it goes is in the settings, which hold a credential and no secret of those.
"""

import json
import os
import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

_TIMEOUT_S = 20


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


def payload(secret_ref: str, subject: str, kind: Mapping[str, str]) -> str:
    """A secret's payload. Raises `OSError` when Barbican does not give it, `ValueError` when it is not of its kind."""
    request = urllib.request.Request(  # noqa: S310 - likewise
        f"{secret_ref}/payload", headers={"Accept": "text/plain", "X-Auth-Token": subject}
    )
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - likewise
        found = str(answer.read().decode())
    if not re.fullmatch(kind["pattern"], found):
        raise ValueError(f"the payload of {secret_ref} is no {kind['name']}")
    return found


def main(settings: Path, target: Path) -> None:
    """Fetch every secret, then write all at once, readable by their owner alone."""
    known: dict[str, Any] = json.loads(settings.read_text(encoding="utf-8"))
    subject = token(known["identity_url"], known["credential"])
    found = {name: payload(ref, subject, known["kind"]) for name, ref in known["secrets"].items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = target.with_suffix(".tmp")
    with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(Template(known["template"]).substitute(found))
    scratch.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
