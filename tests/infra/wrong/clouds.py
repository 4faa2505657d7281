"""Mistakes in what is asked of the clouds: addresses, networks, the cluster and its GPUs."""

from tests.infra.wrong.case import POOL, SERVERS, wrong

ADDRESSES = [
    wrong("sites.1.openstack.supernet", "10.0.0.0/16", "10.0.0.0/16", "overlaps", "pick 10."),
    wrong("sites.0.aws.supernet", "10.0.0.0/24", "10.0.0.0/24", "outside /16 to /21", "pick"),
    wrong("sites.0.aws.supernet", "10.0.0.0/8", "10.0.0.0/8", "outside /16 to /21", "pick 10.0.0.0/16"),
    wrong("sites.0.aws.supernet", "8.8.0.0/16", "8.8.0.0/16", "outside RFC 1918", "pick a part of 10.0.0.0/8"),
    wrong("sites.0.aws.supernet", "10.0.0.1/16", "10.0.0.1/16", "host bits", "write an IPv4 network such as"),
    wrong("sites.1.openstack.supernet", "172.17.0.0/16", "172.17.0.0/16", "Docker's bridge", "pick"),
    wrong("cloud.services", "10.96.0.0/28", "10.96.0.0/28", "outside /12 to /24", "pick 10."),
    wrong("cloud.recovery.beside", ["10.0.0.0/12"], "10.0.0.0/16", "overlaps recovery: beside 10.0.0.0/12", "pick"),
    wrong("cloud.recovery.beside", ["10.72.0.0/16"], "10.72.0.0/16", "overlaps", "pick", stack="prod"),
    wrong(
        f"{SERVERS}.count", 64, "64 are asked", "holds 4 servers", "pick", sites__1__openstack__supernet="10.64.0.0/22"
    ),
    wrong("sites.0.aws.asn", 65535, "65535", "no private AS number", "pick one of 64512-65534"),
    wrong("sites.1.openstack.asn", 64512, "64512", "BGP between them needs two", "set asn: 64513"),
    wrong("sites.1.openstack.mtu", 576, "mtu 576", "below 1280", "set 1280 or more"),
    wrong("sites.1.openstack.dns", ["dns.example"], "'dns.example'", "no IPv4 address", "write one such as 9.9.9.9"),
]

CLOUDS = [
    wrong("sites.0.aws.region", "Frankfurt", "'Frankfurt'", "not an AWS region", "write one such as eu-central-1"),
    wrong("sites.0.aws.zones", 1, "zones 1", "below 2", "set 2 or more"),
    wrong("sites.0.aws.zones", 7, "zones 7", "above 6", "set 6 or less"),
    wrong("sites.0.aws.nat", "two", "nat 'two'", "not one of 'none', 'one' or 'zone'", "pick one"),
    wrong(
        "sites.0.aws.nat",
        "none",
        "nat none",
        "no way to ECR and EKS",
        "set interface_endpoints: true, or nat: one",
        sites__0__aws__interface_endpoints=False,
    ),
    wrong("sites.0.aws.nat", "none", "public_access", "no way to it", "set nat: one, or empty public_access"),
    wrong("sites.0.aws.log_days", 31, "log_days 31", "not one of 1, 3, 7", "pick one"),
    wrong(
        "sites.0.aws.endpoints",
        {"ec3": "http://127.0.0.1:1"},
        "ec3",
        "no service of the AWS provider",
        "use one of ecs, ecr, ec2",
    ),
    wrong("sites.1.openstack.external_network", "", "''", "not something to go by", "the name that the cloud has"),
    wrong("sites.1.openstack.vpn", "wireguard", "'wireguard'", "not one of 'gateway' or 'vpnaas'", "pick one"),
    wrong(
        "sites.1.openstack.object_store.endpoint",
        "object-store:8080",
        "'object-store:8080'",
        "not an http",
        "https://s3",
    ),
    wrong(
        "sites.1.openstack.ssh_public_key", "~/.ssh/id.pub", "'~/.ssh/id.pub'", "not a public key of SSH", "ssh-ed25519"
    ),
    wrong("sites.1.openstack.gateway.admin_networks", ["10.1"], "10.1", "4 octets", "write an IPv4 network"),
    wrong("cloud.cluster.version", "1.19", "'1.19'", "no version that the pinned charts fit", "set one of 1.34"),
    wrong(
        "cloud.cluster.kubeconfig",
        ".state/none/config",
        "'.state/none/config'",
        "no file here",
        "write the cluster's there",
    ),
    wrong("cloud.cluster.installed", ["istoi"], "'istoi'", "not one of 'cert-manager'", "pick one"),
    wrong("cloud.cluster.administrators", ["admin"], "'admin'", "not an ARN", "write one such as arn:aws:iam"),
    wrong("cloud.cluster.public_access", ["everyone"], "everyone", "4 octets", "write an IPv4 network"),
]

GPUS = [
    wrong(f"{POOL}.instance_type", "g6.huge", "g6.huge", "not a known type with NVIDIA GPUs", "pick one of g6.xlarge"),
    wrong(f"{POOL}.instance_type", "p5f.48xlarge", "p5f.48xlarge", "not a known type", "pick one of p5"),
    wrong(f"{POOL}.instance_type", "h100", "'h100'", "not an EC2 instance type", "write one such as g6.12xlarge"),
    wrong(
        f"{POOL}.efa",
        True,
        "instance type g6.xlarge",
        "has no EFA",
        "set efa: false, or pick one of g6.8xlarge",
        **{f"{POOL}.placement_group": True},
    ),
    wrong(f"{POOL}.efa", True, "efa without placement_group", "slow", "set placement_group: true"),
    wrong(
        f"{POOL}.efa",
        True,
        "pool l4 has EFA",
        "localhost/trainer:1 need know nothing",
        "set cloud.images.trainer_efa",
        **{
            f"{POOL}.placement_group": True,
            f"{POOL}.instance_type": "g6.8xlarge",
            "cloud.images.trainer": "localhost/trainer:1",
        },
    ),
    wrong(f"{POOL}.zone", 2, "zone 2", "beyond the site's 2 zones", "pick one below, or raise zones"),
    wrong(f"{POOL}.capacity", "reservation", "capacity reservation", "needs reservation", "give its cr-… id"),
    wrong(f"{POOL}.reservation", "cr-0123456789", "capacity spot", "has no reservation", "leave it out"),
    wrong(
        f"{POOL}.reservation",
        "block-1",
        "'block-1'",
        "not the id of a capacity",
        "write one such as cr-",
        **{f"{POOL}.capacity": "reservation"},
    ),
    wrong(
        f"{POOL}.nodes",
        {"min": 3, "desired": 1, "max": 2},
        "min 3, desired 1, max 2",
        "rising order",
        "set min <= desired",
    ),
    wrong(f"{POOL}.volume_gib", 10, "volume_gib 10", "below 50", "set 50 or more"),
    wrong(f"{POOL}.name", "l4-", "'l4-'", "label can hold", "write one such as"),
    wrong(f"{POOL}.name", "system", "name system", "nodes without GPUs", "give the pool another"),
    wrong(
        "sites.0.aws.gpu_pools",
        [{"name": "l4", "instance_type": "g6.xlarge", "nodes": {}}] * 2,
        "['l4'] repeat",
        "repeat",
        "give each a name",
    ),
    wrong("sites.0.aws.gpu_pools", [], "['aws-1']", "have no GPUs", "add aws-1's gpu_pools"),
    wrong(f"{POOL}.nodes.desired", 0, "0 of 0 GPUs", "none for training", "add nodes"),
    wrong(f"{SERVERS}.gpu.kind", "h900", "'h900'", "not one of a100-pcie", "one of these names"),
    wrong(f"{SERVERS}.gpu.count", 17, "count 17", "above 16", "set 16 or less"),
    wrong(f"{SERVERS}.count", 0, "count 0", "below 1", "set 1 or more"),
    wrong(f"{SERVERS}.flavor", " ", "' '", "not something to go by", "the name that the cloud has"),
    wrong("sites.1.openstack.gpu_servers", [], "['os-1']", "have no GPUs", "gpu_servers"),
]
