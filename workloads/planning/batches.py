"""How many of a step's samples each site takes."""

import math
from collections.abc import Mapping

from workloads.spec.errors import UserError

_ALIKE = 0.15  # speeds that differ by less are the same speed measured twice


def share_batch(batch: int, speeds: Mapping[str, float | None], units: Mapping[str, int]) -> dict[str, int]:
    """Samples a step of each site: `batch` each, or the same total by `speeds`, in multiples of the sites' `units`.

    A site waits for the slowest one at every merge, so a site of twice the speed takes twice the samples.

    Raises:
        UserError: `batch` is no multiple of a site's unit.
    """
    known = [speed for speed in speeds.values() if speed is not None]
    if len(known) == len(speeds) and max(known) > min(known) * (1 + _ALIKE):
        shared = _by_speed(batch * len(speeds), {site: float(speed or 0) for site, speed in speeds.items()}, units)
        if shared is not None:
            return shared
    for site, unit in units.items():
        if batch % unit:
            raise UserError(
                f"train.inner.batch {batch} does not divide among the workers of site {site}; use a multiple of "
                f"{math.lcm(*units.values())}, such as {math.ceil(batch / math.lcm(*units.values())) * math.lcm(*units.values())}"
            )
    return dict.fromkeys(speeds, batch)


def _by_speed(total: int, speeds: Mapping[str, float], units: Mapping[str, int]) -> dict[str, int] | None:
    """Whole units nearest to each site's due, the slowest site getting at least one. None: units do not add up so."""
    due = {site: total * speed / sum(speeds.values()) for site, speed in speeds.items()}
    shares = {site: max(1, int(due[site] // units[site])) * units[site] for site in speeds}
    while (left := total - sum(shares.values())) > 0:
        fits = [site for site in speeds if units[site] <= left]
        if not fits:
            return None
        # the site that would be the least late with one unit more
        site = min(fits, key=lambda name: (shares[name] + units[name]) / speeds[name])
        shares[site] += units[site]
    return shares if sum(shares.values()) == total else None
