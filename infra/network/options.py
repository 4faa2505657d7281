"""Options of children that cannot be two for a moment."""

import pulumi

from infra.scope import Scope


def alone(scope: Scope, *after: pulumi.Resource) -> pulumi.ResourceOptions:
    """Options of a child that is deleted before its replacement is made: its name, address or port admits one alone."""
    return pulumi.ResourceOptions.merge(scope.child(*after), pulumi.ResourceOptions(delete_before_replace=True))
