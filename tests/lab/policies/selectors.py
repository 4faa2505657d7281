"""Label selectors, as the API means them. Pure.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Requirement:
    """One condition on a label: `In`, `NotIn`, `Exists` or `DoesNotExist`."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Labels) -> bool:
        """Whether it does.

        Raises:
            ValueError: the operator is none of the four.
        """
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":  # also where the label is not there
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels
        raise ValueError(
            f"selector on {self.key!r}: operator {self.operator!r} is none of In, NotIn, Exists, DoesNotExist"
        )


@dataclass(frozen=True)
class Selector:
    """Conditions that hold all together; none at all choose everything."""

    requirements: tuple[Requirement, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any] | None) -> "Selector":
        """From `matchLabels` and `matchExpressions`."""
        raw = raw or {}
        return cls(
            (
                *(Requirement(key, "In", frozenset([value])) for key, value in (raw.get("matchLabels") or {}).items()),
                *(
                    Requirement(entry["key"], entry["operator"], frozenset(entry.get("values") or ()))
                    for entry in raw.get("matchExpressions") or ()
                ),
            )
        )

    def matches(self, labels: Labels) -> bool:
        """Whether something with these labels is chosen."""
        return all(requirement.holds(labels) for requirement in self.requirements)
