"""The platform's components in the engine's tree, and where each of a cloud platform stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.naming import Naming


class Platform(pulumi.ComponentResource):
    """The root of everything. Providers come down from here."""

    def __init__(self, name: str, providers: Mapping[str, pulumi.ProviderResource]) -> None:
        super().__init__("isthmus:platform:Platform", name, None, pulumi.ResourceOptions(providers=dict(providers)))


class Group(pulumi.ComponentResource):
    """Resources that belong together, so that the engine's tree reads like the platform's picture."""

    def __init__(
        self,
        kind: str,
        name: str,
        parent: pulumi.Resource,
        providers: Mapping[str, pulumi.ProviderResource] | None = None,
    ) -> None:
        super().__init__(
            f"isthmus:platform:{kind}",
            name,
            None,
            pulumi.ResourceOptions(parent=parent, providers=dict(providers or {})),
        )
        self.register_outputs({})


@dataclass(frozen=True)
class Scope:
    """What every component takes first. It reads no configuration and creates nothing but groups."""

    naming: Naming
    parent: pulumi.Resource
    protect: bool  # whether what holds state is protected from deletion

    def component(
        self, kind: str, name: str, providers: Mapping[str, pulumi.ProviderResource] | None = None
    ) -> "Scope":
        """The scope inside a new component of type `isthmus:platform:KIND`."""
        return Scope(self.naming, Group(kind, name, self.parent, providers), self.protect)

    def child(self, *after: pulumi.Resource) -> pulumi.ResourceOptions:
        """Options of a child. `after` orders what no value connects; say why beside the call."""
        return pulumi.ResourceOptions(parent=self.parent, depends_on=list(after))

    def keeper(self, *after: pulumi.Resource, ignore_changes: Sequence[str] | None = None) -> pulumi.ResourceOptions:
        """Options of a child that holds state: protected where the stack says so."""
        return pulumi.ResourceOptions(
            parent=self.parent,
            depends_on=list(after),
            protect=self.protect,
            ignore_changes=list(ignore_changes) if ignore_changes else None,
        )
