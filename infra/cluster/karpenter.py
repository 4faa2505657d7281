"""Karpenter: CPU capacity on AWS that comes and goes with what pods ask for."""

import json

import pulumi
import pulumi_aws as aws

from infra.access import account, grants
from infra.cloud_contracts import ClusterContract
from infra.cluster import karpenter_objects as objects
from infra.manifests import apply
from infra.releases import CHARTS, release
from infra.scope import Scope
from infra.settings import Settings

VCPUS = 256
"""Of all its nodes together: a run-away autoscaler is stopped there."""


def install(scope: Scope, settings: Settings, cluster: ClusterContract) -> tuple[pulumi.Resource, ...]:
    """The controller, its rights, its queue of interruptions, and a pool of CPU nodes.

    What is destroyed goes in this order: pool with its nodes, node class, controller, cluster. An autoscaler that went
    first would leave nodes that nobody owns.
    """
    site, _ = settings.aws_site
    name = f"{site.name}-karpenter"
    queue = _interruptions(scope, name, site.name)
    role = grants.service_role(scope, name, grants.Trust.pod(objects.NAMESPACE, objects.SERVICE_ACCOUNT))
    profile = aws.iam.InstanceProfile(
        name,
        name=scope.naming.physical(name, 128),
        role=cluster.node_role_arn.apply(lambda arn: arn.rsplit("/", 1)[-1]),
        tags=scope.naming.tags(name, site.name),
        opts=scope.child(),
    )
    allowed = grants.statements(
        scope,
        name,
        role,
        objects.rights(
            account.account(scope, settings), scope.naming.prefix, queue.arn, cluster.node_role_arn, profile.arn
        ),
    )
    identity = grants.pod_identity(scope, name, cluster, objects.NAMESPACE, objects.SERVICE_ACCOUNT, role)
    kinds = release(scope, CHARTS["karpenter-crd"], {}, *cluster.ready)
    controller = release(
        scope,
        CHARTS["karpenter"],
        objects.values(cluster.name, cluster.endpoint, queue.name),
        kinds,
        # it stops at once when it may do nothing
        allowed,
        identity,
        *cluster.ready,
    )
    tags = scope.naming.tags(site=site.name)  # its nodes' names are Karpenter's to give
    node_class = apply(
        scope,
        f"{name}-class",
        objects.node_class(scope.naming.prefix, profile.name, cluster.security_group, tags),
        controller,
    )
    pool = apply(scope, f"{name}-pool", objects.node_pool(site.name, VCPUS), node_class)
    return (controller, node_class, pool)


def _interruptions(
    scope: Scope, name: str, site: str
) -> "aws.sqs.Queue":  # in quotes: looked up, it imports a service that a stack may not need
    """A queue of what is about to happen to nodes, and the rules that fill it."""
    queue = aws.sqs.Queue(
        name,
        name=scope.naming.physical(name, 80),
        message_retention_seconds=300,  # an older warning is of a node that is gone
        sqs_managed_sse_enabled=True,
        tags=scope.naming.tags(name, site),
        opts=scope.child(),
    )
    aws.sqs.QueuePolicy(
        name,
        queue_url=queue.url,
        policy=queue.arn.apply(lambda arn: json.dumps(objects.queue_policy(arn))),
        opts=scope.child(),
    )
    for event, (source, kind) in objects.EVENTS.items():
        rule = aws.cloudwatch.EventRule(
            f"{name}-{event}",
            name=scope.naming.physical(f"{name}-{event}", 64),
            description=f"{kind}, for Karpenter",
            event_pattern=json.dumps({"source": [source], "detail-type": [kind]}),
            tags=scope.naming.tags(f"{name}-{event}", site),
            opts=scope.child(),
        )
        aws.cloudwatch.EventTarget(f"{name}-{event}", rule=rule.name, arn=queue.arn, opts=scope.child())
    return queue
