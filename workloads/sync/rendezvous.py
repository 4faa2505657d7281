"""After which round the sites of a run go on together, when some or all of them start."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import grpc
from torch import Tensor

from workloads.spec.errors import UserError
from workloads.sync.council import View, restarted
from workloads.sync.frame import RefusedError
from workloads.sync.healing import HealingAssembly
from workloads.sync.ledger import Ledger
from workloads.sync.peer import Peer
from workloads.sync.wire import Announcement, Greeting, Patience


class MustHealError(UserError):
    """The others went on without this site, or too far for its checkpoints: it has to heal from one of them."""


@dataclass(frozen=True)
class Start:
    """Where a site goes on: after `round`, by `views`."""

    round: int
    views: tuple[View, ...]


def newest_common(
    site: str,
    rounds: Sequence[int],
    peers: Sequence[Peer],
    views: tuple[View, ...],
    timeout_s: float | None,
    patience: Patience,
    fragments: int = 1,
) -> Start:
    """The newest of `rounds` that all `peers` of the newest view can go on after.

    `views` are those that this site knows of; a peer may know newer ones. Raises `UserError` as `Exchange.rendezvous` does.
    """
    answers: dict[str, Announcement] = {}
    started = time.monotonic()
    pause_s = patience.retry_s
    never = threading.Event()
    while silent := [peer for peer in peers if peer.name in views[-1].sites and peer.name not in answers]:
        for peer in silent:
            answer = peer.meet()
            if answer is not None and answer.views[-1].epoch >= views[-1].epoch:
                views = max(views, answer.views, key=_newness)
            if answer is not None and answer.rounds is not None:
                answers[peer.name] = answer
        if site not in views[-1].sites:
            raise MustHealError(
                f"site {site}: {', '.join(views[-1].sites)} went on without it from turn {views[-1].from_turns[0]}; "
                f"let it heal from them"
            )
        still = [peer for peer in silent if peer.name in views[-1].sites and peer.name not in answers]
        if not still:
            continue
        if timeout_s is not None and time.monotonic() + pause_s > started + timeout_s:
            why = still[0].trouble or "it is up but has not looked for its checkpoints yet"
            raise UserError(
                f"site {site}: no word from {still[0].name} within {time.monotonic() - started:.0f} s ({why}); "
                f"see that it runs and that the link is up"
            )
        never.wait(pause_s)
        pause_s = min(2 * pause_s, patience.longest_retry_s)
    members = {name: answer for name, answer in answers.items() if name in views[-1].sites}
    newest = _common(site, rounds, members)
    if not any(answer.is_living for answer in members.values()):
        views = restarted(views, newest * fragments + 1)
    return Start(newest, views)


def heal_from(
    members: Sequence[Peer],
    caller: Greeting,
    turn: int,
    limit: int,
    timeout_s: float | None,
    patience: Patience,
    ledger: Ledger,
) -> dict[str, Tensor]:
    """The outer state that `turn` begins with, from whichever of `members` gives it first.

    Raises:
        UserError: none did within `timeout_s` seconds (None: however long it takes).
    """
    started = time.monotonic()
    never = threading.Event()
    assemblies: dict[str, HealingAssembly] = {}
    while True:
        for peer in members:
            assembly = assemblies.setdefault(peer.name, HealingAssembly(caller, peer.name, turn, limit))
            try:
                if peer.heal(assembly, turn):
                    return assembly.close()
            except grpc.RpcError:
                continue  # the next attempt goes on where this one ended
            except RefusedError as refusal:
                ledger.refuse(refusal.reason, f"an outer state from {peer.name}", str(refusal))
                del assemblies[peer.name]
        if timeout_s is not None and time.monotonic() - started > timeout_s:
            raise UserError(
                f"site {caller.site}: no outer state from {', '.join(peer.name for peer in members)} within "
                f"{timeout_s:g} s; see that they run and that the link is up"
            )
        never.wait(patience.retry_s)


def _common(site: str, rounds: Sequence[int], answers: Mapping[str, Announcement]) -> int:
    common = set(rounds)
    for name, answer in answers.items():
        offered = set(answer.rounds or ())
        if not common & offered:
            raise (MustHealError if answer.is_living else UserError)(
                f"site {site} can resume after rounds {sorted(common)}, {name} goes on after {sorted(offered)} only; "
                f"stop all sites and start them together, or let this one heal"
            )
        common &= offered
    return max(common)


def _newness(views: tuple[View, ...]) -> tuple[int, tuple[int, ...]]:
    """Newer views first; of the same, those that hold from earlier on: everyone has started again since."""
    return views[-1].epoch, tuple(-turn for turn in views[-1].from_turns)
