"""What the engine says it would do, parsed from its stream of events. Pure.

The stream is what `pulumi preview --json` prints with PULUMI_ENABLE_STREAMING_JSON_PREVIEW set: one event a line, as in
`sdk/go/common/apitype/events.go` of Pulumi. Its other form, one document, leaves policy findings out.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Change = Literal["create", "update", "replace", "delete", "same"]

_CHANGES: Final[Mapping[str, Change]] = {
    "create": "create",
    "import": "create",
    "update": "update",
    "replace": "replace",
    "import-replacement": "replace",
    "delete": "delete",
    "same": "same",
    "refresh": "same",
    "read": "same",
}
"""Steps of the engine. Those that a replacement is made of (`create-replacement`, `delete-replaced`) are not counted."""


@dataclass(frozen=True)
class Step:
    """What would become of one resource."""

    change: Change
    urn: str
    type: str
    parent: str  # URN
    reasons: tuple[str, ...]  # properties that force the replacement
    differs: tuple[str, ...]  # properties that change
    old: Mapping[str, Any]  # inputs; empty for what is created
    new: Mapping[str, Any]
    protected: bool

    @property
    def name(self) -> str:
        return self.urn.rpartition("::")[2]


@dataclass(frozen=True)
class PolicyFinding:
    """A violation, as the pack's rule worded it."""

    rule: str
    level: str  # mandatory, advisory
    urn: str
    message: str


@dataclass(frozen=True)
class Preview:
    """A whole preview."""

    steps: tuple[Step, ...] = ()
    findings: tuple[PolicyFinding, ...] = ()
    errors: tuple[str, ...] = ()
    succeeded: bool = False
    finished: bool = False  # whether the engine came to its summary
    parents: Mapping[str, str] = field(default_factory=dict)

    def count(self, change: Change) -> int:
        return sum(step.change == change for step in self.steps)

    def component(self, step: Step) -> str:
        """The component that a resource is in: the nearest one above it, with those above that but the root."""
        path = []
        urn = step.parent
        while urn and urn in self.parents:
            kind = urn.split("::")[2].rpartition("$")[2]
            if kind not in {"pulumi:pulumi:Stack", "isthmus:platform:Platform"}:
                path.append(f"{kind.rpartition(':')[2]} {urn.rpartition('::')[2]}")
            urn = self.parents[urn]
        return " / ".join(reversed(path)) or "platform"


def parse_events(lines: Iterable[str]) -> Preview:
    """The preview that a stream tells of. Lines that are no event, such as a program's own output, are left out."""
    return preview_of([event for line in lines if (event := _event(line)) is not None])


def preview_of(events: Sequence[Mapping[str, Any]]) -> Preview:
    """The preview that events tell of."""
    steps: dict[str, Step] = {}
    parents: dict[str, str] = {}
    findings, errors = [], []
    summary: Mapping[str, Any] = {}
    for event in events:
        if pre := event.get("resourcePreEvent"):
            metadata = pre["metadata"]
            parents[metadata["urn"]] = _state(metadata, "new", "old").get("parent") or ""
            if change := _CHANGES.get(metadata["op"]):
                steps[metadata["urn"]] = _step(metadata, change)
        elif violation := event.get("policyEvent"):
            findings.append(_finding(violation))
        elif diagnostic := event.get("diagnosticEvent"):
            if diagnostic.get("severity") == "error":
                errors.append(diagnostic["message"].strip())
        elif ended := event.get("summaryEvent"):
            summary = ended
    return Preview(
        steps=tuple(step for step in steps.values() if step.type != "pulumi:pulumi:Stack"),
        findings=tuple(dict.fromkeys(findings)),
        errors=tuple(dict.fromkeys(error for error in errors if error != "preview failed")),
        succeeded=summary.get("result") == "succeeded",
        finished=bool(summary),
        parents=parents,
    )


def _event(line: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return None
    return found if isinstance(found, dict) and "sequence" in found else None


def _step(metadata: Mapping[str, Any], change: Change) -> Step:
    old, new = _state(metadata, "old"), _state(metadata, "new")
    detailed = metadata.get("detailedDiff") or {}
    forced = [path for path, diff in detailed.items() if str(diff.get("diffKind", "")).endswith("replace")]
    return Step(
        change=change,
        urn=metadata["urn"],
        type=metadata["type"],
        parent=_state(metadata, "new", "old").get("parent") or "",
        reasons=tuple(sorted({*(metadata.get("keys") or []), *forced})) if change == "replace" else (),
        differs=tuple(sorted({*(metadata.get("diffs") or []), *detailed})),
        old=old.get("inputs") or {},
        new=new.get("inputs") or {},
        protected=bool(old.get("protect")),
    )


def _state(metadata: Mapping[str, Any], *which: str) -> Mapping[str, Any]:
    return next((metadata[name] for name in which if metadata.get(name)), {})


def _finding(event: Mapping[str, Any]) -> PolicyFinding:
    # the SDK puts the rule's description before what the rule said
    _, _, said = event["message"].strip().partition("\n")
    return PolicyFinding(
        rule=event["policyName"],
        level=event["enforcementLevel"],
        urn=event.get("resourceUrn", ""),
        message=(said or event["message"]).strip(),
    )
