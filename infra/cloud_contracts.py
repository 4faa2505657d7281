"""What the components of a cloud platform give to each other: frozen dataclasses of outputs.

Components are functions `(scope, …contracts…) -> contract`, one a module, wired by `infra.cloud_graph` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes

from workloads.spec.facts import Accelerator

NAMESPACES = ("isthmus-training", "isthmus-serving", "isthmus-registry")
"""Namespaces of the platform's own workloads; controllers have theirs."""


@dataclass(frozen=True)
class AccountContract:
    """The AWS account and partition that the stack's credentials lead to."""

    account_id: pulumi.Output[str]
    partition: pulumi.Output[str]
    region: str


@dataclass(frozen=True)
class AwsNetworkContract:
    """A VPC; tuples go by zone."""

    vpc_id: pulumi.Output[str]
    zones: tuple[pulumi.Output[str], ...]
    public_subnets: tuple[pulumi.Output[str], ...]  # gateways, load balancers
    private_subnets: tuple[pulumi.Output[str], ...]  # nodes
    intra_subnets: tuple[pulumi.Output[str], ...]  # control plane, transit gateway; no way out
    private_route_tables: tuple[pulumi.Output[str], ...]
    intra_route_tables: tuple[pulumi.Output[str], ...]
    ready: tuple[pulumi.Resource, ...]  # what has no value to wait for: routes, endpoints
    nat_addresses: tuple[pulumi.Output[str], ...] = ()  # as which nodes are seen outside


@dataclass(frozen=True)
class OpenStackNetworkContract:
    """A project's network with its gateway's place in it; the gateway itself comes with the link."""

    network_id: pulumi.Output[str]
    subnet_id: pulumi.Output[str]
    router_id: pulumi.Output[str]
    mtu: pulumi.Output[int]  # of the network, as the cloud says
    node_security_group: pulumi.Output[str]
    gateway_security_group: pulumi.Output[str] | None  # None: the router itself ends the link, by VPNaaS
    gateway_port: pulumi.Output[str]
    gateway_address: pulumi.Output[str]  # inside the subnet
    gateway_floating_ip: pulumi.Output[str]
    key_pair: pulumi.Output[str] | None
    outside_address: pulumi.Output[str]  # as which nodes are seen outside: they have no floating IP of their own
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class CloudLinkContract:
    """The VPN: two tunnels, BGP over both."""

    transit_gateway_id: pulumi.Output[str]
    vpn_connection_id: pulumi.Output[str]
    outside_addresses: tuple[pulumi.Output[str], ...]  # of AWS's ends
    rate_mbps: float
    rtt_ms: float
    mtu: int  # inside the tunnel
    pod_mtu: int
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class KeyContract:
    """The customer key of a purpose, multi-region where the store is replicated."""

    arn: pulumi.Output[str]
    replica_arn: pulumi.Output[str] | None


@dataclass(frozen=True)
class ClusterContract:
    """One Kubernetes cluster for both sites."""

    name: pulumi.Output[str]
    endpoint: pulumi.Output[str]
    version: str
    security_group: pulumi.Output[str]
    node_role_arn: pulumi.Output[str]  # of EC2 nodes
    provider: kubernetes.Provider
    ready: tuple[pulumi.Resource, ...]  # what the first pod needs: CNI, CoreDNS, Pod Identity's agent


@dataclass(frozen=True)
class PoolContract:
    """A group of equal GPU nodes at one site: what the queues count and the planner plans with."""

    site: str
    cloud: Literal["aws", "openstack"]
    name: str  # of its flavor
    nodes: int  # at most
    gpus_per_node: int
    accelerator: Accelerator
    cpus_per_node: int
    memory_gib_per_node: int
    labels: Mapping[str, str]  # on each node
    efa_per_node: int
    ready: tuple[pulumi.Resource, ...]
    addresses: tuple[pulumi.Output[str], ...] = ()  # of its nodes, where the stack makes them one by one


@dataclass(frozen=True)
class StoreContract:
    """Where a site keeps its artefacts, as `fsspec` reaches it."""

    site: str
    bucket: pulumi.Output[str]
    url: pulumi.Output[str]  # s3://BUCKET
    endpoint: str | None  # None: AWS's own
    region: str
    arn: pulumi.Output[str] | None  # of an AWS bucket, for grants
    key_arn: pulumi.Output[str] | None
    access_key: pulumi.Output[str] | None  # secret; None: pods have an identity
    secret_key: pulumi.Output[str] | None
    resource: pulumi.Resource
    replica: pulumi.Output[str] | None = None  # the bucket of the other region, which a recovery starts from
    restore_from: str | None = None  # such a bucket of a platform that was lost; grants on this store read it too


@dataclass(frozen=True)
class RepositoryContract:
    """An image repository of the stack's own, by image name."""

    urls: Mapping[str, pulumi.Output[str]]
    arns: Mapping[str, pulumi.Output[str]]


@dataclass(frozen=True)
class ImagesContract:
    """References that pods name: by digest, given or just built."""

    trainer: pulumi.Output[str]
    inference: pulumi.Output[str]
    registry: pulumi.Output[str]
    vllm: pulumi.Output[str] | None
    postgres: str
    pull_policy: str
    trainer_efa: pulumi.Output[str] | None = None  # the trainer for nodes with EFA; None: no pool has any


@dataclass(frozen=True)
class ControllersContract:
    """Controllers that are there, installed by the stack or before it: wait for these before using their kinds."""

    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class NamespacesContract:
    """The namespaces of the platform's own workloads, with their Pod Security labels and default-deny policies."""

    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class QueuesContract:
    """Where jobs are submitted."""

    namespace: str
    local_queue: str
    priority_classes: Mapping[str, str]  # by purpose: `training`, `interactive`
    flavors: Mapping[str, str]  # by site: the flavor that its replicated job must get
    ready: tuple[pulumi.Resource, ...]
    topology: Mapping[str, str] = field(default_factory=dict)  # by site: the label of the level to keep its pods within


@dataclass(frozen=True)
class MeshContract:
    """Istio with strict mutual TLS, and one way in at each site."""

    serving_namespace: str
    registry_namespace: str
    gateway: str  # of Istio, as `NAMESPACE/NAME`; each site's proxies serve it
    doors: Mapping[str, pulumi.Output[str]]  # by site: host name or address of its proxies, as the cluster knows it
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class BalancersContract:
    """Load balancers that no controller of the cluster makes, but the stack itself."""

    doors: Mapping[str, pulumi.Output[str]]  # by site, of those before its gateway
    ready: tuple[pulumi.Resource, ...] = ()


@dataclass(frozen=True)
class CertificatesContract:
    """Issuers of cert-manager."""

    sites: str  # ClusterIssuer of the trainers' mutual TLS
    ingress: str  # ClusterIssuer of the ingress gateway
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class CloudRegistryContract:
    """The model registry inside the cluster."""

    url: str
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class SigningContract:
    """The pair of keys that signs models: secrets of the cluster, by namespace."""

    private_secret: str  # in the training namespace
    public_config: str  # ConfigMap in the serving namespace
    ready: tuple[pulumi.Resource, ...]
    public_pem: pulumi.Output[str] | None = None  # what a recovery has to know of the platform it replaces


@dataclass(frozen=True)
class TrainingContract:
    """A submitted training run."""

    run_id: str
    plan: Mapping[str, Any]  # JSON values of the Plan
    sites: Mapping[str, Any]  # JSON values of the SiteFacts that it was made from
    job: str  # the JobSet's name
    ready: tuple[pulumi.Resource, ...]


@dataclass(frozen=True)
class CloudServiceContract:
    """The way in, one name for both sites."""

    url: str
    ready: tuple[pulumi.Resource, ...]
