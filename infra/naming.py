"""Names and tags, within each cloud's limits. Pure."""

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Naming:
    """Names of one stack of one owner."""

    project: str
    stack: str
    owner: str
    cost_center: str

    @property
    def prefix(self) -> str:
        return f"{self.project}-{self.stack}"

    def physical(self, name: str, limit: int = 63) -> str:
        """A name for what needs one of its own: `PROJECT-STACK-name`, cut to `limit` with a digest where it is longer.

        Raises:
            ValueError: `limit` leaves no room for the digest.
        """
        whole = f"{self.prefix}-{name}"
        if len(whole) <= limit:
            return whole
        digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
        if limit < len(digest) + 2:
            raise ValueError(f"{limit} characters are too few for a name; it needs {len(digest) + 2}")
        return f"{whole[: limit - len(digest) - 1].rstrip('-')}-{digest}"

    def tags(self, name: str | None = None, site: str | None = None) -> dict[str, str]:
        """Tags of a resource. Every one that can be tagged carries them: cost, owner and clean-up go by them."""
        tags = {
            "project": self.project,
            "stack": self.stack,
            "owner": self.owner,
            "cost-center": self.cost_center,
            "managed-by": "pulumi",
        }
        if site is not None:
            tags["site"] = site
        if name is not None:
            tags["Name"] = f"{self.prefix}-{name}"
        return tags

    def tag_list(self, site: str | None = None) -> list[str]:
        """The same for OpenStack, whose tags are plain words."""
        return [f"{key}={value}" for key, value in sorted(self.tags(site=site).items())]
