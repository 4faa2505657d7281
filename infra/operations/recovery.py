"""What a copy for a disaster must know of its primary: printed by the one, checked in the other's values."""

from collections.abc import Mapping
from typing import Any, Final

import yaml
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from infra.settings import Settings
from workloads.spec.errors import UserError

PLACEHOLDER: Final = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEpfPNffH8h5o71flpQ1C9i5cTeApV
VeiQn0AwDDRFzuYzsRE3mrHWdKNZkAPCjWDRREcmU8Ib+cMFZsXn/6h4oA==
-----END PUBLIC KEY-----
"""
"""The key of nobody, which stands in a tracked stack until there is a primary."""

_REMEDY: Final = "set it to what `isthmus recovery --stack PRIMARY` prints"


def require_key(settings: Settings) -> str:
    """Whose models are served beside the stack's own.

    Raises:
        UserError: the key is the placeholder, or none that models are signed with, so that replicas would come up and
            refuse every model of the primary.
    """
    cloud = settings.of_cloud
    key = cloud.recovery.trusted_key
    if key is None:
        return "its own alone"
    if key.split() == PLACEHOLDER.split():
        raise UserError(
            "cloud.recovery.trusted_key is the placeholder, with which nobody signs, and no model of the primary would be "
            f"served; {_REMEDY}"
        )
    try:
        loaded = load_pem_public_key(key.encode())
    except (ValueError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or loaded.curve.name != ec.SECP256R1.name:
        begun = "".join(key.splitlines()[1:2])[:24]
        raise UserError(
            f"cloud.recovery.trusted_key {begun}… is no public key on P-256, which models are signed with; {_REMEDY}"
        )
    return f"its own, and those of {cloud.storage.restore_from or 'another platform'}"


def recovery_values(outputs: Mapping[str, Any], stack: str) -> str:
    """What a recovery's stack file needs of this stack's outputs, as YAML to be pasted there.

    Raises:
        UserError: the stack is not up, or exports nothing to recover from.
    """
    exported = outputs.get("recovery") or {}
    if not exported.get("trusted_key"):
        raise UserError(f"stack {stack} exports nothing under recovery; run `make up STACK={stack}` first")
    copies = exported.get("restore_from") or {}
    if not copies:
        raise UserError(
            f"stack {stack} keeps no copy in another region to recover from; set cloud.storage.replica_region and run "
            f"`make up STACK={stack}`"
        )
    values = {
        "storage": {"restore_from": next(iter(copies.values()))},
        "recovery": {"trusted_key": exported["trusted_key"]},
    }
    text: str = yaml.dump({"isthmus:cloud": values}, Dumper=_Dumper, sort_keys=False, width=10_000)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as people do."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
