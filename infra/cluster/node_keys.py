"""A hybrid node's certificate, and the way that its private key takes to it."""

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_openstack as openstack

from infra.cluster.boot import Escrow
from infra.cluster.hybrid_identity import Anywhere
from infra.local.keys import IssuedCertificate
from infra.network.gateway import identity_url, payload_path
from infra.network.options import alone
from infra.scope import Scope

DAYS = 1095
"""How long a node's certificate lasts. Near its end an `up` draws another, and that replaces the server."""


def named(scope: Scope, name: str, node: str, region: str, identity: Anywhere) -> dict[str, Any]:
    """What a node's boot is told of its identity: leaves are outputs.

    The key lies in Barbican; `user_data` has an application credential that can read this one payload, and is deleted
    with the stack. The credential itself is in plain text there: whoever may read it in Nova may read the key in Barbican
    anyway, and on the server none but root reaches the metadata service. On the node the key is root's file: the helper
    that renews credentials reads it each time.
    """
    issued = IssuedCertificate(
        name,
        identity.authority,
        scope.child(),
        common_name=node,  # the role's trust demands that a session is called so
        days=DAYS,
    )
    secret = openstack.keymanager.SecretV1(
        name,
        name=scope.naming.physical(name, 255),
        secret_type="opaque",  # noqa: S106 - a kind of secret; of `private` Barbican wants DER
        payload=pulumi.Output.secret(issued.output("private_key_pem")),
        payload_content_type="text/plain",
        metadata=scope.naming.tags(),  # Barbican lowers the case of keys, so that `Name` would differ for ever
        opts=scope.child(),
    )
    credential = openstack.identity.ApplicationCredential(
        name,
        name=scope.naming.physical(f"node-{name}", 255),
        description=f"node {node} reads the key of its certificate",
        unrestricted=False,
        access_rules=[
            openstack.identity.ApplicationCredentialAccessRuleArgs(
                service="key-manager", method="GET", path=secret.secret_ref.apply(payload_path)
            )
        ],
        opts=alone(scope),  # Keystone knows one of a name
    )
    scoped = openstack.identity.get_auth_scope_output(
        name=scope.naming.prefix, opts=pulumi.InvokeOutputOptions(parent=scope.parent)
    )
    return {
        "identity": {
            "nodeName": node,
            "trustAnchorArn": identity.anchor_arn,
            "profileArn": identity.profile_arn,
            "roleArn": identity.role_arn,
        },
        "certificate_pem": issued.output("certificate_pem"),
        "escrow": {
            "identity_url": scoped.service_catalogs.apply(lambda catalogue: identity_url(catalogue, region)),
            "credential_id": credential.id,
            "credential_secret": credential.secret,
            "secret_ref": secret.secret_ref,
        },
    }


def escrow_of(known: Mapping[str, str]) -> Escrow:
    """The escrow, once all of it is known."""
    return Escrow(**known)
