"""By rule, worlds that it refuses, with words of the refusal."""

from typing import Any

from infra.policy.rule import UNKNOWN, Secret
from tests.infra.policy.worlds import (
    BLOCKS,
    EVERYBODY,
    KEY_OWNER,
    OVER_TLS,
    TAGS,
    WORDS,
    World,
    allow,
    bucket,
    cluster,
    deployment,
    efa_beside,
    efa_world,
    floating_balancer,
    gateway,
    group,
    iam,
    ingress,
    job_set,
    listener,
    neutron,
    nodes,
    of,
    policy,
    role,
    template,
)

REFUSED: dict[str, list[tuple[World, str]]] = {
    "public-buckets": [
        ([of("aws:s3/bucket:Bucket", acl="public-read")], "acl public-read"),
        (
            [of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", **{**BLOCKS, "blockPublicAcls": False})],
            "leaves blockPublicAcls off",
        ),
        ([of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")], "blockPublicAcls, blockPublicPolicy"),
        ([of("aws:s3/bucketPolicy:BucketPolicy", policy=policy(EVERYBODY))], "allows everybody s3:GetObject"),
        (
            [of("aws:s3/bucketPolicy:BucketPolicy", policy=policy({**EVERYBODY, "Condition": OVER_TLS}))],
            "allows everybody",
        ),
        (
            [of("aws:s3/bucketPolicy:BucketPolicy", policy=policy({**EVERYBODY, "Principal": {"AWS": ["*"]}}))],
            "allows everybody",
        ),
        ([of("openstack:objectstorage/container:Container", containerRead=".r:*,.rlistings")], "is read by .r:*"),
    ],
    "bucket-guards": [
        (bucket()[:1], "lacks a public access block"),
        ([*bucket()[:1], *bucket()[2:]], "lacks a public access block"),
        ([*bucket()[:2], *bucket()[3:]], "lacks encryption"),
        (bucket(policy=policy(EVERYBODY)), "refuses plain HTTP"),
        (bucket(policy=policy({**EVERYBODY, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})), "plain HTTP"),
    ],
    "encryption": [
        ([of("aws:ebs/volume:Volume")], "volume is not encrypted"),
        ([template(blockDeviceMappings=[{"deviceName": "/dev/xvda", "ebs": {"volumeSize": 50.0}}])], "/dev/xvda"),
        ([of("aws:ec2/instance:Instance")], "root volume is not encrypted"),
        ([cluster()], "secrets of Kubernetes"),
        ([of("aws:ecr/repository:Repository")], "encrypted by AES256, limit KMS"),
        ([of("aws:secretsmanager/secret:Secret")], "no key of the account's own"),
        ([of("aws:kms/key:Key")], "never rotated"),
        ([of("aws:rds/instance:Instance")], "database is not encrypted"),
        ([of("aws:efs/fileSystem:FileSystem")], "not encrypted"),
        (
            [of("aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", rules=[])],
            "limit aws:kms",
        ),
    ],
    "secret-inputs": [
        ([of("openstack:keymanager/secretV1:SecretV1", payload="plain")], "payload is plain text"),
        ([of("kubernetes:core/v1:Secret", stringData={"a": Secret("x"), "b": "plain"})], "stringData is plain text"),
        ([of("aws:secretsmanager/secretVersion:SecretVersion", secretString="plain")], "secretString"),
    ],
    "open-ports": [
        ([ingress(22)], "opens tcp port 22 to the world"),
        ([ingress(443, toPort=8443)], "ports 443-8443"),
        ([ingress(0, ipProtocol="-1", fromPort=None, toPort=None)], "of every port"),
        ([ingress(80, UNKNOWN, cidrIpv6="::/0")], "port 80"),
        ([neutron("os-1-nodes-ike", "udp", 500, remoteIpPrefix="0.0.0.0/0")], "limit udp 500 and 4500 of the gateway"),
        ([neutron("os-1-gateway-ssh", "tcp", 22)], "port 22"),
        ([neutron("os-1-gateway-ike", "tcp", 500)], "opens tcp port 500"),
        ([group(ingress=[{"protocol": "tcp", "fromPort": 22.0, "toPort": 22.0, "cidrBlocks": ["0.0.0.0/0"]}])], "22"),
        (
            [
                of(
                    "aws:ec2/securityGroupRule:SecurityGroupRule",
                    type="ingress",
                    protocol="tcp",
                    fromPort=80.0,
                    toPort=80.0,
                    cidrBlocks=["0.0.0.0/0"],
                )
            ],
            "port 80",
        ),
        ([of("kubernetes:core/v1:Service", spec={"type": "LoadBalancer", "ports": [{"port": 80.0}]})], "port 80"),
        ([listener(80)], "door opens tcp port 80 to the world"),
        ([listener(80, [])], "tcp port 80"),
        ([listener(30043, ["10.0.0.0/8", "0.0.0.0/0"])], "tcp port 30043"),
        ([listener(443, protocol="UDP")], "udp port 443"),
    ],
    "groups-on-ports": [
        ([of("openstack:compute/instance:Instance", securityGroups=["default"])], "limit none; put them on"),
    ],
    "floating-ips": [
        (
            [of("openstack:networking/floatingIp:FloatingIp", "os-1-l4-0")],
            "is neither the gateway's nor a load balancer's",
        ),
        (floating_balancer()[1:], "os-1-door is neither"),
        (floating_balancer(of_property="pool"), "os-1-door is neither"),
    ],
    "mtu": [
        ([of("pulumi:pulumi:Stack", link={"mtu": 1500.0, "pod_mtu": 1396.0})], "link mtu is 1500, limit 1446"),
        ([of("pulumi:pulumi:Stack", link={"mtu": 1446.0, "pod_mtu": 1400.0})], "pod_mtu is 1400, limit 1396"),
        ([of("kubernetes:helm.sh/v3:Release", "cilium", values={"MTU": 1450.0})], "1450, limit 1446"),
    ],
    "cidrs": [
        ([of("aws:ec2/vpc:Vpc", cidrBlock="100.64.0.0/16")], "outside RFC 1918"),
        (
            [
                of("aws:ec2/vpc:Vpc", cidrBlock="10.0.0.0/8"),
                of("openstack:networking/subnet:Subnet", cidr="10.64.0.0/20"),
            ],
            "overlaps OpenStack subnet 10.64.0.0/20",
        ),
        (
            [
                cluster(
                    kubernetesNetworkConfig={"serviceIpv4Cidr": "10.64.64.0/20"},
                    remoteNetworkConfig={"remotePodNetworks": {"cidrs": ["10.64.64.0/18"]}},
                )
            ],
            "services 10.64.64.0/20 overlaps hybrid pods",
        ),
    ],
    "iam-wildcards": [
        (iam(allow("s3:*")), "allows s3:*, limit named actions"),
        (iam(allow("s3:GetObject", on="*")), "s3:GetObject on every resource"),
        (iam(allow("s3:GetObject", on=["arn:aws:s3:::*"])), "on every resource"),
        (iam({"Effect": "Allow", "NotAction": ["iam:*"], "Resource": "arn:aws:s3:::b"}), "by exception"),
        (
            [
                of(
                    "aws:kms/key:Key",
                    policy=policy({**KEY_OWNER, "Principal": {"AWS": "arn:aws:iam::123456789012:role/r"}}),
                )
            ],
            "allows kms:*",
        ),
        (
            [
                of(
                    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
                    policyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess",
                )
            ],
            "attaches AmazonS3FullAccess",
        ),
    ],
    "rbac-wildcards": [
        ([role(rules=[{"apiGroups": ["*"], "resources": ["pods"], "verbs": ["get"]}])], "allows apiGroups *"),
        ([role("ClusterRoleBinding", roleRef={"name": "cluster-admin"})], "binds cluster-admin"),
    ],
    "required-tags": [
        ([of("aws:ec2/vpc:Vpc")], "lacks the tags project, stack, owner, cost-center, managed-by"),
        ([of("openstack:networking/network:Network", tags=WORDS[1:])], "lacks the tags project"),
        ([of("openstack:blockstorage/volume:Volume")], "lacks the tags"),
        ([of("aws:ec2/vpc:Vpc", tags={**TAGS, "owner": "nobody"})], "has tag owner=nobody, limit ml"),
    ],
    "launched-tags": [
        ([template(tagSpecifications=[{"resourceType": "instance", "tags": TAGS}])], "starts volumes without the tags"),
    ],
    "imdsv2": [
        ([template(metadataOptions={"httpTokens": "optional"})], "optional, limit required"),
        ([of("aws:ec2/instance:Instance")], "optional, limit required"),
    ],
    "efa": [
        (efa_world(placed=False), "lacks a placement group"),
        (efa_world(open_=False), "all traffic from its own security group"),
        (efa_world(strategy="spread"), "is spread, limit cluster"),
        (efa_beside(other="sg-other"), "lacks a rule for all traffic from its own security group (ingress), a rule"),
        (efa_beside(protocol="tcp"), "lacks a rule for all traffic"),
        (efa_beside(protocol="tcp", classic=True), "lacks a rule for all traffic"),
    ],
    "protected": [
        ([of("aws:s3/bucket:Bucket")], "a bucket with its objects and is not protected"),
        ([of("openstack:objectstorage/container:Container")], "not protected"),
    ],
    "training-outside-mesh": [
        ([job_set()], "inject=None"),
        ([job_set(**{"sidecar.istio.io/inject": "true"})], "inject=true"),
        (
            [
                of(
                    "kubernetes:core/v1:Namespace",
                    metadata={"name": "isthmus-training", "labels": {"istio-injection": "enabled"}},
                )
            ],
            "namespace isthmus-training is in the mesh",
        ),
    ],
    "privileged-pods": [
        ([deployment(hostNetwork=True)], "hostNetwork in namespace isthmus-serving"),
        ([deployment(volumes=[{"hostPath": {"path": "/var"}}])], "host path /var"),
        ([deployment(container={"securityContext": {"privileged": True}})], "main is privileged"),
        ([deployment(container={"securityContext": {"allowPrivilegeEscalation": True}})], "may gain privileges"),
        ([deployment(container={"ports": [{"hostPort": 80.0}]})], "host port"),
    ],
    "images-by-digest": [
        ([deployment(container={"image": "postgres:17"})], "image postgres:17 is named by tag"),
        ([deployment(container={"image": "postgres:17", "imagePullPolicy": "Always"})], "by tag"),
        ([deployment(container={"image": "auto"})], "image auto"),
        ([gateway("proxy:1")], "image proxy:1"),
    ],
    "pinned-charts": [
        ([of("kubernetes:helm.sh/v3:Release", version="^1.2")], "^1.2 is a range"),
        ([of("kubernetes:helm.sh/v3:Release")], "chart has no version"),
    ],
    "budget": [
        (nodes("p5.48xlarge", 2.0), "limit 4,000; the most of it is p5.48xlarge"),
        ([of("openstack:compute/instance:Instance", flavorName="dear")], "the most of it is servers of flavor dear"),
    ],
}

SETTINGS: dict[str, dict[str, Any]] = {
    "required-tags": {"values": TAGS},
    "protected": {"protect": True},
    "budget": {"monthly_usd": 4000.0, "flavors": {"dear": {"usd_per_hour": 9.0, "hybrid_vcpus": 8.0}}},
}
"""What the stack of these worlds has in the pack's configuration."""
