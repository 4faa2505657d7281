"""Recorded previews, and events of clouds made as the engine makes them."""

import json
from pathlib import Path
from typing import Any

from infra.operations.previews import Preview, parse_events, preview_of

FOLDER = Path(__file__).parent / "recordings"
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = {SIGNATURE: "1b47061264138c4ac30d75fd1eb44270", "ciphertext": "AAABBB"}
STACK = "urn:pulumi:prod::isthmus::pulumi:pulumi:Stack::isthmus-prod"
PLATFORM = "urn:pulumi:prod::isthmus::isthmus:platform:Platform::isthmus-prod"
STORES = "urn:pulumi:prod::isthmus::isthmus:platform:Platform$isthmus:platform:Artefacts::artefacts"


def recording(name: str) -> Preview:
    """What the real engine said, without what no review reads: `local-empty`, `local-recipe`, `local-same`."""
    return parse_events((FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines())


def event(op: str, kind: str, name: str, old: Any = None, new: Any = None, **more: Any) -> dict[str, Any]:
    """A `resourcePreEvent` of the engine's stream."""
    parent, protect = more.pop("parent", STORES), more.pop("protect", False)

    def state(inputs: Any) -> dict[str, Any] | None:
        return None if inputs is None else {"type": kind, "inputs": inputs, "parent": parent, "protect": protect}

    urn = more.pop("urn", f"urn:pulumi:prod::isthmus::isthmus:platform:Platform${kind}::{name}")
    metadata = {"op": op, "urn": urn, "type": kind, "old": state(old), "new": state(new), **more}
    return {"sequence": 1, "resourcePreEvent": {"metadata": metadata, "planning": True}}


def tree() -> list[dict[str, Any]]:
    """The components above `STORES`."""
    return [
        event("same", "pulumi:pulumi:Stack", "isthmus-prod", {}, {}, urn=STACK, parent=""),
        event("same", "isthmus:platform:Platform", "isthmus-prod", {}, {}, urn=PLATFORM, parent=STACK),
        event("same", "isthmus:platform:Artefacts", "artefacts", {}, {}, urn=STORES, parent=PLATFORM),
    ]


def violation(rule: str, message: str, urn: str = "", level: str = "mandatory") -> dict[str, Any]:
    said = {"policyName": rule, "message": f"What the rule says.\n{message}\n", "resourceUrn": urn}
    return {"sequence": 2, "policyEvent": {**said, "enforcementLevel": level}}


def summary(result: str = "succeeded") -> dict[str, Any]:
    return {"sequence": 3, "summaryEvent": {"result": result, "resourceChanges": {}}}


def cloud_change() -> Preview:
    """A bucket that is replaced, a protected key that is deleted, a group that is updated, and a finding."""
    bucket = "aws:s3/bucket:Bucket"
    events = [
        *tree(),
        event("create-replacement", bucket, "artefacts", {"bucket": "old"}, {"bucket": "new"}, keys=["bucket"]),
        event("replace", bucket, "artefacts", {"bucket": "old"}, {"bucket": "new"}, keys=["bucket"], diffs=["bucket"]),
        event("delete-replaced", bucket, "artefacts", {"bucket": "old"}),
        event("delete", "aws:kms/key:Key", "artefacts", {"enableKeyRotation": True}, protect=True),
        event(
            "update",
            "aws:eks/nodeGroup:NodeGroup",
            "gpu",
            {"scalingConfig": {"desiredSize": 1, "maxSize": 2}, "instanceTypes": ["g6.xlarge"], "psk": SECRET},
            {"scalingConfig": {"desiredSize": 3, "maxSize": 3}, "instanceTypes": ["g6.xlarge"], "psk": SECRET},
            diffs=["scalingConfig", "psk"],
        ),
        event("create", "aws:ec2/vpc:Vpc", "aws-1", None, {"cidrBlock": "10.0.0.0/16"}),
        violation("bucket-guards", "bucket artefacts lacks encryption; declare it"),
        summary(),
    ]
    return preview_of(events)


def line(value: Any) -> str:
    return json.dumps(value)
