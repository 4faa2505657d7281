"""A mistake in a stack file, and what the line that refuses it has to say."""

import json
from dataclasses import dataclass
from typing import Any

POOL, SERVERS = "sites.0.aws.gpu_pools.0", "sites.1.openstack.gpu_servers.0"


@dataclass(frozen=True)
class Wrong:
    """A mistake in a real stack file, as dotted overrides, and what the line says of it."""

    changes: dict[str, Any]
    value: str
    limit: str
    remedy: str
    stack: str = "dev"

    def __str__(self) -> str:
        return ",".join(f"{path.rpartition('.')[2]}={json.dumps(value)}"[:40] for path, value in self.changes.items())


def wrong(path: str, given: Any, *said: str, stack: str = "dev", **more: Any) -> Wrong:
    """Further keys are of other dotted paths, with `__` for a dot where one is written as a keyword."""
    value, limit, remedy = said
    return Wrong(
        {path: given, **{key.replace("__", "."): other for key, other in more.items()}}, value, limit, remedy, stack
    )
