"""What an operator decides about the sites of a run, as a file in the work folder of any site that goes on."""

from typing import Annotated

from pydantic import Field

from workloads.spec.base import Frozen, SiteName

DECISION = "membership.json"


class MembershipDecision(Frozen):
    """Go on without `remove`, however few remain. A removed site that comes back heals from the others and joins again."""

    remove: Annotated[tuple[SiteName, ...], Field(min_length=1)]
