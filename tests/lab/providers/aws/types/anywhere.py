"""IAM Roles Anywhere, which no emulator has: the stand-in keeps its objects itself."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.lab.providers.aws import kept
from tests.lab.providers.aws.spec import Step, Tagging, Type, Work, each


@dataclass(frozen=True)
class _Tagging(Tagging):
    """Tags are a part of the document."""

    step: Step = field(kw_only=True)

    def change(self, work: Work, there: Mapping[str, str]) -> None:
        self.step(work)


def _kept(word: str, inputs: tuple[str, ...]) -> Type:
    """A type whose objects come, change and go as documents of a folder."""
    kind = f"rolesanywhere-{word}"

    def put(work: Work) -> str:
        identity = work.id or str(uuid.uuid4())
        own = {key: value for key, value in work.new.items() if key not in {"tags", "tagsAll"}}
        kept.put(kind, identity, {**own, "tags": work.new.get("tagsAll") or {}})
        return identity

    def drop(work: Work) -> Any:
        kept.drop(kind, work.id)

    name = "".join(part.capitalize() for part in word.split("-"))
    return Type(
        f"aws:rolesanywhere/{name[:1].lower()}{name[1:]}:{name}",
        "rolesanywhere",
        create=put,
        read=lambda work: kept.get(kind, work.id),
        delete=drop,
        changes=each(put, inputs),
        tagging=_Tagging("", "", "", step=put),
        outputs={"arn": lambda work: work.fill(f"arn:$partition:rolesanywhere:$region:$account:{word}/$id")},
    )


TYPES: Final = (
    _kept("trust-anchor", ("name", "enabled", "source")),
    _kept("profile", ("name", "enabled", "roleArns", "acceptRoleSessionName")),
)
