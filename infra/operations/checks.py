"""A check of something that would fail later, and a table of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text

from workloads.spec.errors import UserError

Outcome = Literal["passed", "failed", "unknown"]

_LOOKS: Final[dict[Outcome, tuple[str, str]]] = {
    "passed": ("passed", "green"),
    "failed": ("failed", "bold red"),
    "unknown": ("could not be known", "yellow"),
}


@dataclass(frozen=True)
class Check:
    """What was looked at and what was found."""

    subject: str
    outcome: Outcome
    value: str
    limit: str = ""
    remedy: str = ""

    @property
    def failed(self) -> bool:
        return self.outcome == "failed"


def passed(subject: str, value: str, limit: str = "") -> Check:
    """It is as it should be."""
    return Check(subject, "passed", value, limit)


def failed(subject: str, value: str, limit: str, remedy: str) -> Check:
    """It would fail later."""
    return Check(subject, "failed", value, limit, remedy)


def unknown(subject: str, value: str, remedy: str) -> Check:
    """Nobody could be asked, which is no failure."""
    return Check(subject, "unknown", value, "", remedy)


def tried(subject: str, look: Callable[[], str]) -> Check:
    """What `look` finds; a `UserError`'s value and limit, and after the last semicolon its remedy."""
    try:
        return passed(subject, look())
    except UserError as error:
        found, _, remedy = str(error).rpartition("; ")
        return failed(subject, found or remedy, "", remedy if found else "")


def preflight_report(checks: Sequence[Check], stack: str) -> Group:
    """A table of the checks, the failed ones first, and a line that sums them up."""
    table = Table("check", "outcome", "value", "limit", "remedy", box=None, padding=(0, 2, 0, 0))
    for column in table.columns[2:]:
        column.overflow = "fold"
    order = ("failed", "unknown", "passed")
    for check in sorted(checks, key=lambda check: order.index(check.outcome)):
        word, style = _LOOKS[check.outcome]
        table.add_row(Text(check.subject), Text(word, style=style), check.value, check.limit, check.remedy)
    counts = {outcome: sum(check.outcome == outcome for check in checks) for outcome in order}
    verdict = "would fail" if counts["failed"] else "is ready as far as could be known"
    summary = (
        f"\nstack {stack} {verdict}: {counts['passed']} passed, {counts['failed']} failed, {counts['unknown']} unknown"
    )
    return Group(table, Text(summary, style="bold"))
