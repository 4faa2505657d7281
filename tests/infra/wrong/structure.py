"""Mistakes in the shape of a stack: keys, types, what is missing, sites and links."""

from tests.infra.wrong.case import POOL, SERVERS, wrong

KEYS = [
    wrong("colour", "blue", "colour 'blue'", "no known key", "remove it, or use one of sites, links"),
    wrong("cloud.bugdet", 1, "cloud.bugdet 1", "no known key", "remove it, or use one of owner"),
    wrong("sites.0.gpus", 8, "sites.0.gpus 8", "no known key", "remove it, or use one of name, kind"),
    wrong("sites.0.aws.zonez", 3, "sites.0.aws.zonez 3", "no known key", "did you mean zones?"),
    wrong(
        f"{POOL}.instance",
        "g6.xlarge",
        "gpu_pools.0.instance 'g6.xlarge'",
        "no known key",
        "did you mean instance_type",
    ),
    wrong(f"{SERVERS}.gpu.type", "l4", "gpu.type 'l4'", "no known key", "remove it, or use one of kind, count"),
    wrong(
        "cloud.serving.access", {"audience": ["a"]}, "access.audience ['a']", "no known key", "did you mean audiences?"
    ),
    wrong("training.overrides", {"train.epocs": 2}, "train.epocs 2", "no known key", "did you mean epochs?"),
]

TYPES = [
    wrong("sites", "aws-1", "sites 'aws-1'", "no list", "write one"),
    wrong("sites", [], "sites []", "at least 1", "add"),
    wrong("sites.0", "aws-1", "sites.0 'aws-1'", "no mapping", "write keys and values"),
    wrong("cloud", ["owner"], "cloud ['owner']", "no mapping", "write keys and values"),
    wrong("sites.0.aws.zones", "three", "zones 'three'", "no whole number", "write one, such as 3"),
    wrong("cloud.protect", "perhaps", "protect 'perhaps'", "neither true nor false", "write one"),
    wrong("cloud.owner", 7, "owner 7", "no text", "in quotes"),
    wrong("cloud.cluster.version", 1.34, "version 1.34", "no text", "in quotes"),
    wrong("links.0.rate", 100, "rate 100", "a number with a unit", "such as 100 Mbit/s"),
    wrong("cloud.database_password", 1234567, "database_password (hidden)", "no text", "in quotes"),
]

MISSING = [
    wrong("training", {}, "training.recipe", "is missing", "add it"),
    wrong("sites.0.aws", {"supernet": "10.0.0.0/16"}, "sites.0.aws.region", "is missing", "add it"),
    wrong("cloud.serving", {}, "cloud.serving.host", "is missing", "add it"),
    wrong("cloud", None, "['aws', 'openstack']", "need isthmus:cloud", "add it with owner, budget"),
    wrong("sites.0.aws", None, "aws-1 is of kind aws", "lacks values under aws", "add them"),
    wrong("sites.1.gateway", {}, "sites.1.gateway {}", "no known key", "remove it"),
]

SITES = [
    wrong("sites.0.kind", "gcp", "kind 'gcp'", "not one of 'local', 'aws' or 'openstack'", "pick one"),
    wrong(
        "sites.0",
        {"name": "aws-1", "kind": "local"},
        "['local', 'openstack']",
        "one of kind aws and one",
        "add or remove",
        local={"folder": ".state/x", "base_port": 20000},
    ),
    wrong("sites.1.name", "aws-1", "['aws-1'] repeat", "repeat", "give each site a name"),
    wrong("sites.0.name", "AWS_1", "name 'AWS_1'", "a-z", "write it so"),
    wrong("sites.0.workers", 8, "workers", "of local sites alone", "remove them"),
    wrong("links.0.between", ["aws-1", "mars"], "['mars']", "joins", "name two of the sites ['aws-1', 'os-1']"),
    wrong("links.0.between", ["aws-1", "aws-1"], "aws-1 - aws-1", "a site to itself", "name two of the sites"),
    wrong("links", [], "aws-1 - os-1", "without a link", "add them under isthmus:links"),
    wrong("links.0.rate", "0 Mbit/s", "0 Mbit/s", "outside 0.1 Mbit/s to 100 Gbit/s", "set a rate within"),
    wrong("links.0.rtt_ms", -1, "rtt_ms -1", "below 0", "set 0 or more"),
    wrong("links.0.rate", "12 Gbit/s", "12000 Mbit/s", "10000 Mbit/s of 2 large VPN tunnels", "set rate: 10 Gbit/s"),
    wrong(
        "links.0.rate",
        "6 Gbit/s",
        "6000 Mbit/s",
        "5000 Mbit/s of 1 large VPN tunnel",
        "set rate: 5 Gbit/s",
        sites__1__openstack__vpn="vpnaas",
    ),
]
