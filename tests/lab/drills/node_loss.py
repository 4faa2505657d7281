"""A node loses its power in the middle of a run, and gets it back."""

import time
from dataclasses import dataclass

from tests.lab.drills.stores import SiteStore
from tests.lab.drills.training import Run
from tests.lab.drills.view import View, condition

_NOTICED_S = 120
_BACK_S = 300


@dataclass(frozen=True)
class Recovery:
    """What it cost."""

    site: str
    round_at_loss: int
    resumed_after_round: int
    interval_rounds: int  # between two checkpoints
    lost_samples: int  # that are trained on again, those of an outage among them
    noticed_s: float  # from the loss to the cluster's word that the node is gone
    resumed_s: float  # from the node's return to training again


def lose_node(view: View, run: Run, store: SiteStore, node: str) -> Recovery:
    """Kill the node of a store's site, start it once the cluster has noticed, and wait until the site trains again."""
    site = store.site
    standing = run.standing(site)
    lost = {pod["metadata"]["uid"] for pod in run.pods(site)}
    began = time.monotonic()
    view.cluster.kill_node(node)
    view.until(f"{node} is known to be gone", lambda: not condition(view.one("node", node), "Ready"), _NOTICED_S)
    noticed = time.monotonic() - began
    kept = store.checkpoints(run.launch.run_id)  # nobody writes any more
    view.say(f"checkpoints of {site}, samples by round: {kept}")
    returned = time.monotonic()
    view.cluster.start_node(node)
    view.until(f"{node} is ready again", lambda: condition(view.one("node", node), "Ready"), _BACK_S)

    def resumed() -> int | None:
        pod = run.pod(site)
        return run.resumed_after(site) if pod is not None and pod["metadata"]["uid"] not in lost else None

    after = view.until(f"{site} trains again from its checkpoint", resumed, _BACK_S) or 0
    again = time.monotonic() - returned
    samples = run.samples(site, standing)
    return Recovery(
        site=site,
        round_at_loss=int(standing.get("round", 0)),
        resumed_after_round=after,
        interval_rounds=run.interval_rounds,
        lost_samples=max(0, samples - kept.get(after, 0)),
        noticed_s=round(noticed, 1),
        resumed_s=round(again, 1),
    )
