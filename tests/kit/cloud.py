"""A cloud stack's program, or one component of it, under mocks that are as strict as an engine with real providers."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pulumi

from infra.cloud_graph import build_cloud
from infra.cloud_providers import CloudProviders
from infra.local.handlers import HANDLERS
from infra.naming import Naming
from infra.operations.stack_files import settings_of, tracked, with_overrides
from infra.scope import Platform, Scope
from infra.settings import PROJECT, Settings, stack_config
from tests.kit import sdk_schema
from tests.kit.program import event_loops
from tests.kit.recording import Declared, RecordingMonitor

ACCOUNT = "123456789012"
# What the tables say for wherever a stack is: the mocks put its own in their place.
REGION, OPENSTACK_REGION = "eu-central-1", "RegionOne"
_HANDLERS = {handler.pulumi_type: handler for handler in HANDLERS}

# What a mocked provider computes beside `id`, `arn` and a resource's inputs, by type: from the resource's name and inputs.
COMPUTED: dict[str, Callable[[str, Mapping[str, Any]], dict[str, Any]]] = {
    "aws:ec2/eip:Eip": lambda name, _: {"publicIp": "198.51.100.7", "allocationId": f"eipalloc-{name}"},
    "aws:ec2/launchTemplate:LaunchTemplate": lambda *_: {"latestVersion": 1},
    "aws:ec2/vpnConnection:VpnConnection": lambda *_: {
        "tunnel1Address": "203.0.113.11",
        "tunnel2Address": "203.0.113.12",
        "tunnel1PresharedKey": pulumi.Output.secret("psk-of-tunnel-one"),
        "tunnel2PresharedKey": pulumi.Output.secret("psk-of-tunnel-two"),
        "tunnel1BgpAsn": "64512",
        "tunnel2BgpAsn": "64512",
        "transitGatewayAttachmentId": "tgw-attach-0vpn",
    },
    "aws:ec2transitgateway/transitGateway:TransitGateway": lambda *_: {
        "associationDefaultRouteTableId": "tgw-rtb-0",
        "propagationDefaultRouteTableId": "tgw-rtb-0",
    },
    "aws:ecr/repository:Repository": lambda name, inputs: {
        "repositoryUrl": f"{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com/{inputs.get('name', name)}"
    },
    "aws:eks/cluster:Cluster": lambda name, inputs: {
        "endpoint": "https://0123456789ABCDEF.gr7.eu-central-1.eks.amazonaws.com",
        "certificateAuthority": {"data": "Q0E="},
        "certificateAuthorities": [{"data": "Q0E="}],
        "identities": [{"oidcs": [{"issuer": "https://oidc.eks.eu-central-1.amazonaws.com/id/0123"}]}],
        "name": inputs.get("name", name),
        "vpcConfig": {**inputs.get("vpcConfig", {}), "clusterSecurityGroupId": "sg-0cluster"},
    },
    "aws:iam/role:Role": lambda name, inputs: {"name": inputs.get("name", name)},
    "docker-build:index:Image": lambda _, inputs: {
        "ref": f"{inputs['tags'][0]}@sha256:{'d' * 64}",
        "digest": f"sha256:{'d' * 64}",
    },
    "aws:kms/key:Key": lambda name, _: {"keyId": f"{name}-id"},
    "aws:kms/replicaKey:ReplicaKey": lambda name, _: {"keyId": f"{name}-id"},
    "aws:sqs/queue:Queue": lambda name, inputs: {
        "url": f"https://sqs.eu-central-1.amazonaws.com/{ACCOUNT}/{inputs.get('name', name)}"
    },
    "aws:ssm/activation:Activation": lambda *_: {"activationCode": pulumi.Output.secret("code-of-activation")},
    "isthmus:keys:CertificateAuthority": lambda *_: {"ca_pem": "CA PEM", "ca_key_pem": pulumi.Output.secret("CA KEY")},
    "isthmus:keys:DrawnSecret": lambda *_: {"value": pulumi.Output.secret("drawn-secret")},
    "isthmus:keys:IssuedCertificate": lambda *_: {
        "certificate_pem": "CERTIFICATE PEM",
        "private_key_pem": pulumi.Output.secret("CERTIFICATE KEY"),
    },
    "isthmus:keys:SigningKey": lambda *_: {
        "private_pem": pulumi.Output.secret("PRIVATE PEM"),
        "public_pem": "PUBLIC PEM",
    },
    "openstack:identity/applicationCredential:ApplicationCredential": lambda *_: {
        "secret": pulumi.Output.secret("application-credential-secret")
    },
    "openstack:identity/ec2CredentialV3:Ec2CredentialV3": lambda *_: {
        "access": "EC2ACCESS",
        "secret": pulumi.Output.secret("ec2-secret"),
    },
    "openstack:keymanager/secretV1:SecretV1": lambda name, _: {
        "secretRef": f"https://keys.example.org/v1/secrets/{name}"
    },
    "openstack:loadbalancer/loadBalancer:LoadBalancer": lambda name, _: {"vipPortId": f"port-of-{name}"},
    "openstack:networking/floatingIp:FloatingIp": lambda *_: {"address": "192.0.2.20"},
    "openstack:networking/network:Network": lambda *_: {"mtu": 1450},
    "openstack:networking/port:Port": lambda *_: {"allFixedIps": ["10.64.0.10"]},
    "openstack:networking/router:Router": lambda *_: {
        "externalFixedIps": [{"ipAddress": "192.0.2.30", "subnetId": "subnet-public"}]
    },
    "openstack:networking/routerInterface:RouterInterface": lambda name, _: {"portId": f"port-of-router-{name}"},
}

# What the program may ask for: anything else is an unknown function.
INVOKES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "aws:ec2/getAmi:getAmi": lambda _: {"id": "ami-0123456789abcdef0", "imageId": "ami-0123456789abcdef0"},
    "aws:ecr/getAuthorizationToken:getAuthorizationToken": lambda _: {
        "userName": "AWS",
        "password": "registry-password",
        "proxyEndpoint": f"https://{ACCOUNT}.dkr.ecr.eu-central-1.amazonaws.com",
    },
    "aws:index/getAvailabilityZones:getAvailabilityZones": lambda args: {
        "names": [f"{args.get('region', 'eu-central-1')}{letter}" for letter in "abcdef"],
        "zoneIds": [f"euc1-az{index}" for index in range(1, 7)],
    },
    "aws:index/getCallerIdentity:getCallerIdentity": lambda _: {
        "accountId": ACCOUNT,
        "arn": f"arn:aws:iam::{ACCOUNT}:user/somebody",
        "userId": "AIDA",
    },
    "aws:index/getPartition:getPartition": lambda _: {
        "partition": "aws",
        "dnsSuffix": "amazonaws.com",
        "reverseDnsPrefix": "com.amazonaws",
    },
    "aws:index/getRegion:getRegion": lambda args: {"region": args.get("region", "eu-central-1"), "id": "eu-central-1"},
    "openstack:images/getImage:getImage": lambda args: {"id": f"image-{args.get('name')}", "name": args.get("name")},
    "openstack:networking/getNetwork:getNetwork": lambda args: {
        "id": f"network-{args.get('name')}",
        "name": args.get("name"),
        "mtu": 1500,
    },
    "openstack:identity/getAuthScope:getAuthScope": lambda _: {
        "projectId": "project-0",
        "userId": "user-0",
        "region": "RegionOne",
        "serviceCatalogs": [
            {
                "id": "catalogue-0",
                "name": "keystone",
                "type": "identity",
                "endpoints": [
                    {
                        "id": "endpoint-0",
                        "interface": "public",
                        "region": "RegionOne",
                        "regionId": "RegionOne",
                        "url": "https://identity.example.org/v3",
                    }
                ],
            }
        ],
    },
}


@dataclass(frozen=True)
class CloudMocks(pulumi.runtime.Mocks):
    """Refuses inputs that the provider's SDK does not have, missing ones, default providers and unknown functions."""

    region: str  # of AWS
    openstack_region: str

    def new_resource(self, args: pulumi.runtime.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        inputs = dict(args.inputs)
        if not args.custom:
            return None, inputs
        if args.typ.startswith("pulumi:providers:"):
            return f"{args.name}-id", inputs
        if not args.provider:
            raise AssertionError(f"{args.typ} {args.name}: no explicit provider came down to it")
        if problems := self._problems(args.typ, inputs):
            raise AssertionError(f"{args.typ} {args.name}: {'; '.join(problems)}")
        computed = COMPUTED.get(args.typ)
        return f"{args.name}-id", {
            **self._here(_arn(args.typ, args.name)),
            **inputs,
            **self._here(computed(args.name, inputs) if computed else {}),
        }

    def call(self, args: pulumi.runtime.MockCallArgs) -> dict[str, Any]:
        if args.token not in INVOKES:
            raise AssertionError(f"the program calls an unknown function {args.token}")
        if not args.provider:
            raise AssertionError(f"{args.token}: no explicit provider came down to it")
        return {**args.args, **self._here(INVOKES[args.token](args.args))}

    def _here(self, value: Any) -> Any:
        """A value out of the tables, in the stack's own regions."""
        if isinstance(value, str):
            return value.replace(REGION, self.region).replace(OPENSTACK_REGION, self.openstack_region)
        if isinstance(value, Mapping):
            return {key: self._here(inner) for key, inner in value.items()}
        return [self._here(inner) for inner in value] if isinstance(value, list) else value

    @staticmethod
    def _problems(token: str, inputs: dict[str, Any]) -> list[str]:
        if handler := _HANDLERS.get(token):
            return [str(fault) for fault in handler.faults(inputs)]
        if token.startswith("kubernetes:") and sdk_schema.arguments_of(token) is None:
            return []  # a custom resource: its own schema is checked elsewhere
        return sdk_schema.faults(token, inputs)


def _arn(token: str, name: str) -> dict[str, str]:
    """Nearly everything in AWS has an ARN; that of a bucket and of IAM names no region."""
    package, module, _ = token.split(":")
    if package != "aws":
        return {}
    service = module.split("/")[0]
    if service == "s3":
        return {"arn": f"arn:aws:s3:::{name}"}
    where = "" if service == "iam" else "eu-central-1"
    return {"arn": f"arn:aws:{service}:{where}:{ACCOUNT}:{module.split('/')[-1]}/{name}"}


@dataclass(frozen=True)
class CloudProgram:
    """What was declared, and what the declaring function gave back with every output resolved."""

    resources: tuple[Declared, ...]
    result: Any

    def of_type(self, kind: str) -> list[Declared]:
        return sorted((r for r in self.resources if r.type == kind), key=lambda resource: resource.name)

    def one(self, kind: str) -> Declared:
        (resource,) = self.of_type(kind)
        return resource

    def named(self, name: str) -> Declared:
        (resource,) = (r for r in self.resources if r.name == name)
        return resource


def cloud_settings(stack: str = "dev", /, **overrides: Any) -> Settings:
    """Settings of a real stack file, with dotted keys changed: `cloud_settings(**{"sites.0.aws.nat": "zone"})`."""
    config = with_overrides(
        stack_config(tracked(stack)), [f"{path}={json.dumps(value)}" for path, value in overrides.items()]
    )
    return settings_of(config, stack)


def declare(body: Callable[[Scope], Any], settings: Settings | None = None, stack: str = "dev") -> CloudProgram:
    """Run a component's function in a fresh platform under strict mocks."""
    chosen = settings or cloud_settings(stack)
    cloud = chosen.of_cloud
    naming = Naming(PROJECT, stack, cloud.owner, cloud.cost_center)

    def program() -> Any:
        platform = Platform(naming.prefix, CloudProviders.of(chosen, naming).clouds)
        return body(Scope(naming, platform, cloud.protect))

    return run(program, stack, chosen)


@cache
def whole(stack: str) -> CloudProgram:
    """The program of a cloud stack, which is declared once for all tests that look at it."""
    settings = cloud_settings(stack)
    return run(lambda: build_cloud(settings, stack), stack, settings)


def run(program: Callable[[], Any], stack: str, settings: Settings) -> CloudProgram:
    """Run a program under strict mocks."""
    results: list[Any] = []
    regions = settings.aws_site[1].region, settings.openstack_site[1].region
    monitor = RecordingMonitor(CloudMocks(*regions))

    @pulumi.runtime.test
    def test() -> Any:
        return resolved(program()).apply(results.append)

    with event_loops():
        pulumi.runtime.set_mocks(monitor.mocks, PROJECT, stack, preview=False, monitor=monitor)
        test()
    return CloudProgram(tuple(monitor.declared), results[0])


def resolved(value: Any) -> pulumi.Output[Any]:
    """An output of `value` with every output inside it resolved, also inside dataclasses, tuples and mappings."""
    if isinstance(value, pulumi.Output):
        return value.apply(lambda inner: inner)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: resolved(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return pulumi.Output.all(**fields).apply(lambda known: dataclasses.replace(value, **known))
    if isinstance(value, tuple | list):
        kind = type(value)
        return pulumi.Output.all(*map(resolved, value)).apply(kind)
    if isinstance(value, Mapping):
        keys = list(value)
        return pulumi.Output.all(*(resolved(value[key]) for key in keys)).apply(
            lambda known: dict(zip(keys, known, strict=True))
        )
    return pulumi.Output.from_input(value)
