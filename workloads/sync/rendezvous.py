"""After which round the sites of a run go on together, when some or all of them start."""

import threading
import time
from collections.abc import Sequence

from workloads.spec.errors import UserError
from workloads.sync.peer import Peer
from workloads.sync.wire import Patience


def newest_common(
    site: str, rounds: Sequence[int], peers: Sequence[Peer], timeout_s: float | None, patience: Patience
) -> int:
    """The newest of `rounds` that all `peers` can go on after. Raises `UserError` as `Exchange.rendezvous` does."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    common = set(rounds)
    for peer in peers:
        offered = _ask(site, peer, deadline, patience)
        if not common & set(offered):
            raise UserError(
                f"site {site} can resume after rounds {sorted(common)}, {peer.name} goes on after {sorted(offered)} only; "
                f"stop all sites and start them together"
            )
        common &= set(offered)
    return max(common)


def _ask(site: str, peer: Peer, deadline: float | None, patience: Patience) -> tuple[int, ...]:
    started = time.monotonic()
    pause_s = patience.retry_s
    never = threading.Event()
    while (rounds := peer.meet()) is None:
        if deadline is not None and time.monotonic() + pause_s > deadline:
            why = peer.trouble or "it is up but has not looked for its checkpoints yet"
            raise UserError(
                f"site {site}: no word from {peer.name} within {time.monotonic() - started:.0f} s ({why}); "
                f"see that it runs and that the link is up"
            )
        never.wait(pause_s)
        pause_s = min(2 * pause_s, patience.longest_retry_s)
    return rounds
