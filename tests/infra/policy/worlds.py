"""What small declared worlds are built from."""

import json
from typing import Any

from infra.policy.rule import UNKNOWN, Resource

TAGS = {"project": "isthmus", "stack": "dev", "owner": "ml", "cost-center": "cc-1", "managed-by": "pulumi"}
WORDS = [f"{key}={value}" for key, value in TAGS.items()]
DIGEST = f"registry.example.org/trainer@sha256:{'a' * 64}"
BLOCKS = dict.fromkeys(("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"), True)
World = list[Resource]


def of(kind: str, name: str = "thing", /, *, protect: bool = False, needs: Any = None, **props: Any) -> Resource:
    return Resource(kind, name, props, f"urn:pulumi:dev::isthmus::{kind}::{name}", protect, needs or {})


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def bucket(**of_policy: Any) -> World:
    owner = of("aws:s3/bucket:Bucket", "artefacts")
    of_it = {"bucket": (owner.urn,)}
    default = {"policy": policy({"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}})}
    return [
        owner,
        of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", needs=of_it, bucket=UNKNOWN, **BLOCKS),
        of(
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
            needs=of_it,
            bucket=UNKNOWN,
            rules=[{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}],
        ),
        of("aws:s3/bucketPolicy:BucketPolicy", needs=of_it, bucket=UNKNOWN, **(of_policy or default)),
    ]


def group(name: str = "nodes", **props: Any) -> Resource:
    return of("aws:ec2/securityGroup:SecurityGroup", name, id=f"sg-{name}", **props)


def template(**props: Any) -> Resource:
    tags = [{"resourceType": kind, "tags": TAGS} for kind in ("instance", "volume")]
    return of(
        "aws:ec2/launchTemplate:LaunchTemplate",
        "gpu",
        **{"metadataOptions": {"httpTokens": "required"}, "tagSpecifications": tags, **props},
    )


def efa_world(*, placed: bool = True, open_: bool = True, strategy: str = "cluster") -> World:
    everything = {"protocol": "-1", "self": True, "fromPort": 0, "toPort": 0}
    inside = group(ingress=[everything] * open_, egress=[everything] * open_)
    place = of("aws:ec2/placementGroup:PlacementGroup", "close", strategy=strategy)
    interfaces = [{"interfaceType": "efa", "securityGroups": UNKNOWN}]
    needs = {"networkInterfaces": (inside.urn,), "placement": (place.urn,)}
    placement = {"placement": {"groupName": UNKNOWN}} if placed else {}
    made = of("aws:ec2/launchTemplate:LaunchTemplate", "gpu", needs=needs, networkInterfaces=interfaces, **placement)
    return [inside, place, made]


def efa_beside(*, other: str = "sg-nodes", protocol: str = "-1", classic: bool = False) -> World:
    """The same with rules of their own, as the AWS provider advises."""
    inside, place, made = efa_world(open_=False)
    if classic:
        kind = "aws:ec2/securityGroupRule:SecurityGroupRule"
        of_it = {"securityGroupId": "sg-nodes", "sourceSecurityGroupId": other, "protocol": protocol}
        return [inside, place, made, *(of(kind, way, type=way, **of_it) for way in ("ingress", "egress"))]
    props = {"securityGroupId": "sg-nodes", "referencedSecurityGroupId": other, "ipProtocol": protocol}
    ways = ("Ingress", "Egress")
    return [
        inside,
        place,
        made,
        *(of(f"aws:vpc/securityGroup{way}Rule:SecurityGroup{way}Rule", **props) for way in ways),
    ]


def deployment(namespace: str = "isthmus-serving", /, container: Any = None, **spec: Any) -> Resource:
    containers = [{"name": "main", "image": DIGEST, **(container or {})}]
    return of(
        "kubernetes:apps/v1:Deployment",
        "web",
        metadata={"name": "web", "namespace": namespace},
        spec={"template": {"metadata": {}, "spec": {"containers": containers, **spec}}},
    )


def gateway(image: str) -> Resource:
    pod = {
        "metadata": {"annotations": {"inject.istio.io/templates": "gateway"}},
        "spec": {"containers": [{"image": image}]},
    }
    return of("kubernetes:apps/v1:Deployment", "door", metadata={"namespace": "istio-ingress"}, spec={"template": pod})


def job_set(**labels: str) -> Resource:
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "trainer", "image": DIGEST}]}}
    return of(
        "kubernetes:jobset.x-k8s.io/v1alpha2:JobSet",
        "train",
        metadata={"name": "train", "namespace": "isthmus-training"},
        spec={"replicatedJobs": [{"name": "aws-1", "template": {"spec": {"template": pod}}}]},
    )


def role(kind: str = "Role", **props: Any) -> Resource:
    return of(f"kubernetes:rbac.authorization.k8s.io/v1:{kind}", "reader", **props)


def allow(*actions: str, on: Any = "arn:aws:s3:::b/*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def iam(*statements: dict[str, Any]) -> World:
    return [of("aws:iam/rolePolicy:RolePolicy", "reader", policy=policy(*statements))]


def cluster(**props: Any) -> Resource:
    return of("aws:eks/cluster:Cluster", "isthmus", **props)


def ingress(port: int, source: str = "0.0.0.0/0", **props: Any) -> Resource:
    return of(
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        "in",
        **{"cidrIpv4": source, "ipProtocol": "tcp", "fromPort": port, "toPort": port, **props},
    )


def neutron(name: str, protocol: str | None, port: int | None, **props: Any) -> Resource:
    ports = {"portRangeMin": port, "portRangeMax": port} if port else {}
    return of(
        "openstack:networking/secGroupRule:SecGroupRule",
        name,
        direction="ingress",
        **({"protocol": protocol} if protocol else {}),
        **ports,
        **props,
    )


def listener(port: int, clients: Any = None, protocol: str = "TCP") -> Resource:
    of_it = {} if clients is None else {"allowedCidrs": clients}
    return of("openstack:loadbalancer/listener:Listener", "door", protocol=protocol, protocolPort=float(port), **of_it)


def floating_balancer(of_property: str = "portId") -> World:
    balancer = of("openstack:loadbalancer/loadBalancer:LoadBalancer", "os-1-door")
    needs = {of_property: (balancer.urn,)}
    return [balancer, of("openstack:networking/floatingIp:FloatingIp", "os-1-door", needs=needs, portId=UNKNOWN)]


def nodes(kind: str, count: float) -> World:
    return [
        of("pulumi:providers:aws", "aws", region="us-east-1"),
        of("aws:eks/nodeGroup:NodeGroup", instanceTypes=[kind], scalingConfig={"desiredSize": count, "maxSize": 99.0}),
    ]


KEY_OWNER = {
    "Effect": "Allow",
    "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "kms:*",
    "Resource": "*",
}
OF_THE_ORGANISATION = {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}
OVER_TLS = {"Bool": {"aws:SecureTransport": "true"}}
EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}
