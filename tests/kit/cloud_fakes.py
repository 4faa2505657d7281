"""Contracts made of constants, so that one component can be declared without those before it."""

import pulumi
import pulumi_kubernetes as kubernetes

from infra import cloud_contracts as contracts
from infra.scope import Scope
from workloads.spec.facts import Accelerator

GIB = 1 << 30


def _out(value: str) -> pulumi.Output[str]:
    return pulumi.Output.from_input(value)


def account() -> contracts.AccountContract:
    return contracts.AccountContract(_out("123456789012"), _out("aws"), "eu-central-1")


def aws_network(zones: int = 2) -> contracts.AwsNetworkContract:
    def by_zone(kind: str) -> tuple[pulumi.Output[str], ...]:
        return tuple(_out(f"{kind}-{index}") for index in range(zones))

    return contracts.AwsNetworkContract(
        vpc_id=_out("vpc-0"),
        zones=tuple(_out(f"eu-central-1{letter}") for letter in "abcdef"[:zones]),
        public_subnets=by_zone("subnet-public"),
        private_subnets=by_zone("subnet-private"),
        intra_subnets=by_zone("subnet-intra"),
        private_route_tables=by_zone("rtb-private"),
        intra_route_tables=by_zone("rtb-intra"),
        ready=(),
    )


def openstack_network() -> contracts.OpenStackNetworkContract:
    return contracts.OpenStackNetworkContract(
        network_id=_out("network-0"),
        subnet_id=_out("subnet-0"),
        router_id=_out("router-0"),
        mtu=pulumi.Output.from_input(1450),
        node_security_group=_out("group-nodes"),
        gateway_security_group=_out("group-gateway"),
        gateway_port=_out("port-gateway"),
        gateway_address=_out("10.64.0.10"),
        gateway_floating_ip=_out("192.0.2.20"),
        key_pair=None,
        outside_address=_out("192.0.2.30"),
        ready=(),
    )


def link() -> contracts.CloudLinkContract:
    return contracts.CloudLinkContract(
        transit_gateway_id=_out("tgw-0"),
        vpn_connection_id=_out("vpn-0"),
        outside_addresses=(_out("203.0.113.11"), _out("203.0.113.12")),
        rate_mbps=1000.0,
        rtt_ms=20.0,
        mtu=1446,
        pod_mtu=1396,
        ready=(),
    )


def keyring() -> dict[str, contracts.KeyContract]:
    return {
        purpose: contracts.KeyContract(_out(f"arn:aws:kms:eu-central-1:123456789012:key/{purpose}"), None)
        for purpose in ("cluster", "artefacts", "logs")
    }


def cluster(scope: Scope) -> contracts.ClusterContract:
    """The provider has to be declared: children of the cluster get it from their component."""
    return contracts.ClusterContract(
        name=_out("isthmus-dev"),
        endpoint=_out("https://cluster.example.org"),
        version="1.34",
        security_group=_out("sg-0cluster"),
        node_role_arn=_out("arn:aws:iam::123456789012:role/nodes"),
        provider=kubernetes.Provider("kubernetes", kubeconfig="{}", opts=pulumi.ResourceOptions(parent=scope.parent)),
        ready=(),
    )


def inside(scope: Scope) -> Scope:
    """The scope of what lies in the cluster, with its provider."""
    return scope.component("Cluster", "inside", {"kubernetes": cluster(scope).provider})


def pool(site: str = "aws-1", *, nodes: int = 1, gpus: int = 1, efa: int = 0) -> contracts.PoolContract:
    return contracts.PoolContract(
        site=site,
        cloud="aws" if site.startswith("aws") else "openstack",
        name="l4",
        nodes=nodes,
        gpus_per_node=gpus,
        accelerator=Accelerator(kind="l4", memory_bytes=24 * GIB),
        cpus_per_node=8,
        memory_gib_per_node=32,
        labels={
            "isthmus.dev/site": site,
            "isthmus.dev/pool": "l4",
            "topology.kubernetes.io/region": "eu-central-1" if site.startswith("aws") else "regionone",
            "topology.kubernetes.io/zone": "eu-central-1a" if site.startswith("aws") else site,
        },
        efa_per_node=efa,
        ready=(),
    )


def pools() -> tuple[contracts.PoolContract, ...]:
    return (pool("aws-1"), pool("os-1"))


def store(scope: Scope, site: str = "aws-1") -> contracts.StoreContract:
    """Of AWS by a pod's identity, of OpenStack by a pair of keys."""
    of_aws = site.startswith("aws")
    return contracts.StoreContract(
        site=site,
        bucket=_out(f"isthmus-dev-{site}"),
        url=_out(f"s3://isthmus-dev-{site}"),
        endpoint=None if of_aws else "https://object-store.example.org",
        region="eu-central-1" if of_aws else "RegionOne",
        arn=_out(f"arn:aws:s3:::isthmus-dev-{site}") if of_aws else None,
        key_arn=_out("arn:aws:kms:eu-central-1:123456789012:key/artefacts") if of_aws else None,
        access_key=None if of_aws else pulumi.Output.secret("EC2ACCESS"),
        secret_key=None if of_aws else pulumi.Output.secret("ec2-secret"),
        resource=scope.parent,
    )


def stores(scope: Scope) -> dict[str, contracts.StoreContract]:
    return {site: store(scope, site) for site in ("aws-1", "os-1")}


def repositories() -> contracts.RepositoryContract:
    names = ("trainer", "inference", "registry")
    host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/isthmus-dev"
    return contracts.RepositoryContract(
        urls={name: _out(f"{host}/{name}") for name in names},
        arns={name: _out(f"arn:aws:ecr:eu-central-1:123456789012:repository/isthmus-dev/{name}") for name in names},
    )


def images() -> contracts.ImagesContract:
    def image(name: str) -> pulumi.Output[str]:
        return _out(f"registry.example.org/isthmus/{name}@sha256:{'a' * 64}")

    return contracts.ImagesContract(
        trainer=image("trainer"),
        inference=image("inference"),
        registry=image("registry"),
        vllm=image("vllm"),
        postgres=f"registry.example.org/postgres@sha256:{'b' * 64}",
        pull_policy="IfNotPresent",
        trainer_efa=image("trainer-efa"),
    )


def controllers() -> contracts.ControllersContract:
    return contracts.ControllersContract(())


def namespaces() -> contracts.NamespacesContract:
    return contracts.NamespacesContract(())


def queues() -> contracts.QueuesContract:
    return contracts.QueuesContract(
        namespace="isthmus-training",
        local_queue="training",
        priority_classes={"training": "training", "interactive": "interactive"},
        flavors={"aws-1": "aws-1-l4", "os-1": "os-1-l4"},
        ready=(),
    )


def mesh() -> contracts.MeshContract:
    return contracts.MeshContract(
        serving_namespace="isthmus-serving",
        registry_namespace="isthmus-registry",
        gateway="istio-ingress/models",
        doors={"aws-1": _out("istio-ingress.istio-ingress.svc"), "os-1": _out("istio-ingress-os-1.istio-ingress.svc")},
        ready=(),
    )


def certificates() -> contracts.CertificatesContract:
    return contracts.CertificatesContract(sites="isthmus-sites", ingress="isthmus-ingress", ready=())


def registry() -> contracts.CloudRegistryContract:
    return contracts.CloudRegistryContract(url="http://registry.isthmus-registry.svc:5000", ready=())


def signing() -> contracts.SigningContract:
    return contracts.SigningContract(private_secret="signing-key", public_config="signing-key", ready=())  # noqa: S106


def training() -> contracts.TrainingContract:
    return contracts.TrainingContract(run_id="iris-0123456789", plan={}, sites={}, job="train-01234567", ready=())
