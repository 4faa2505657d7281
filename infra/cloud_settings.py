"""Values of a stack whose sites are an AWS account and an OpenStack project."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, SecretStr, model_validator

from infra.fields import (
    Arn,
    Asn,
    AwsRegion,
    BucketName,
    Cidr,
    Contact,
    HostName,
    HttpUrl,
    ImageReference,
    InstanceType,
    KubernetesVersion,
    PemPublicKey,
    PoolName,
    PrivateCidr,
    Reservation,
    SshPublicKey,
    TagText,
    Text,
    UsdPerHour,
)

Controller = Literal[
    "cert-manager",
    "cilium",
    "gpu-operator",
    "istio",
    "jobset",
    "karpenter",
    "keda",
    "kueue",
    "metrics",
    "monitoring",
]
"""What a platform team's cluster may have already; the stack installs the rest."""


SYSTEM_POOL = "system"
"""The pool of AWS nodes that carry controllers and webhooks, near the control plane."""


class Setting(BaseModel):
    """A frozen value: what the schema does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Nodes(Setting):
    """How many nodes a pool has; whoever scales it stays within."""

    min: Annotated[int, Field(ge=0)] = 0
    desired: Annotated[int, Field(ge=0)] = 1
    max: PositiveInt = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.min <= self.desired <= self.max:
            raise ValueError(
                f"min {self.min}, desired {self.desired}, max {self.max} are not in rising order; set min <= desired <= max"
            )
        return self


class SystemPool(Setting):
    """The nodes that carry controllers and webhooks: on AWS, near the control plane."""

    instance_type: InstanceType = "m7i.xlarge"
    nodes: Nodes = Nodes(min=2, desired=2, max=4)


class GpuPool(Setting):
    """A managed node group of EKS with GPUs, in one zone if it has a placement group."""

    name: PoolName
    instance_type: InstanceType
    nodes: Nodes
    capacity: Literal["on-demand", "spot", "reservation", "capacity-block"] = "on-demand"
    reservation: Reservation | None = None
    efa: bool = False
    placement_group: bool = False  # of strategy `cluster`
    zone: Annotated[int, Field(ge=0, le=5)] = 0  # index into the site's zones
    volume_gib: Annotated[int, Field(ge=50, le=16384)] = 200

    @model_validator(mode="after")
    def _capacity_fits(self) -> Self:
        reserved = self.capacity in {"reservation", "capacity-block"}
        if reserved != (self.reservation is not None):
            raise ValueError(
                f"pool {self.name}: capacity {self.capacity} {'needs' if reserved else 'has no'} reservation; "
                f"{'give its cr-… id' if reserved else 'leave it out, or choose reservation or capacity-block'}"
            )
        if self.efa and not self.placement_group:
            raise ValueError(
                f"pool {self.name}: efa without placement_group is slow; set placement_group: true, or efa: false"
            )
        return self


class GpuDevice(Setting):
    """The GPUs of one OpenStack flavor: flavors are the operator's own, so nothing can be looked up."""

    kind: Text  # as the planner's data sheets call it: `h100-sxm`, `a10g`
    count: Annotated[int, Field(ge=1, le=16)]
    memory_gib: PositiveInt


class GpuServers(Setting):
    """Servers of one flavor that join the cluster, kept on different hosts."""

    name: PoolName
    flavor: Text
    image: Text  # an Ubuntu or RHEL image with the NVIDIA driver
    count: Annotated[int, Field(ge=1, le=64)]
    gpu: GpuDevice
    vcpus: PositiveInt
    memory_gib: PositiveInt
    volume_gib: Annotated[int, Field(ge=0, le=16384)] = 200  # 0: none beside the root disk
    usd_per_hour: UsdPerHour | None = None  # of each server; None: the operator's own, which cost nothing here


class AwsSettings(Setting):
    """The AWS half of a site."""

    region: AwsRegion
    supernet: PrivateCidr
    asn: Asn = 64512  # of the transit gateway
    zones: Annotated[int, Field(ge=2, le=6)] = 3
    nat: Literal["none", "one", "zone"] = "one"  # one is cheap and fails with its zone
    interface_endpoints: bool = True
    log_days: Literal[1, 3, 7, 14, 30, 90, 180, 365] = 30
    system: SystemPool = SystemPool()
    gpu_pools: tuple[GpuPool, ...] = ()
    endpoints: dict[str, HttpUrl] = {}  # by service, of an emulator; empty for AWS itself

    @model_validator(mode="after")
    def _pools_differ(self) -> Self:
        _refuse_repeated("gpu_pools", [pool.name for pool in self.gpu_pools])
        if any(pool.name == SYSTEM_POOL for pool in self.gpu_pools):
            raise ValueError(f"gpu_pools: name {SYSTEM_POOL} is that of the nodes without GPUs; give the pool another")
        return self


class GatewaySettings(Setting):
    """The VM that ends the tunnels on the OpenStack side."""

    flavor: Text
    image: Text  # Debian or Ubuntu
    usd_per_hour: UsdPerHour | None = None  # None: the operator's own
    admin_networks: tuple[Cidr, ...] = ()  # who may reach SSH and the health endpoint; empty: nobody from outside
    volume_type: str | None = None  # of its root volume, an encrypted one; None: the disk that comes with the flavor


class DoorSettings(Setting):
    """What stands before the gateway of the OpenStack site."""

    load_balancer: Literal["octavia", "none"] = "octavia"  # none: the door is inside the cluster alone
    provider: Text | None = None  # of Octavia, one that knows allowed networks, such as amphora; None: its default
    floating_ip: bool = False  # whether it is reached from outside, which needs tokens
    clients: tuple[Cidr, ...] = ()  # who may come beside both sites; with a floating IP, none means anybody

    @model_validator(mode="after")
    def _has_what_it_opens(self) -> Self:
        if self.load_balancer == "none" and (self.floating_ip or self.clients):
            raise ValueError(
                "load_balancer none opens nothing to floating_ip or clients; leave them out, or set load_balancer: octavia"
            )
        return self


class ObjectStore(Setting):
    """The S3 interface of Swift or of Ceph's gateway."""

    kind: Literal["swift", "ceph"] = "swift"
    endpoint: HttpUrl
    region: Text = "RegionOne"


class OpenStackSettings(Setting):
    """The OpenStack half of a site. Credentials come from `clouds.yaml` or from `OS_…`, never from here."""

    cloud: Text | None = None  # an entry of clouds.yaml; None: the environment's OS_… variables
    region: Text = "RegionOne"
    supernet: PrivateCidr
    asn: Asn = 64513
    external_network: Text
    dns: tuple[IPv4Address, ...] = ()
    mtu: Annotated[int, Field(ge=1280, le=9000)] = 1442  # that the project's networks have at least: 1442 under Geneve
    vpn: Literal["gateway", "vpnaas"] = "gateway"
    gateway: GatewaySettings
    gpu_servers: tuple[GpuServers, ...] = ()
    door: DoorSettings = DoorSettings()
    join: Literal["roles-anywhere", "ssm"] = "roles-anywhere"
    object_store: ObjectStore
    ssh_public_key: SshPublicKey | None = None

    @model_validator(mode="after")
    def _servers_differ(self) -> Self:
        _refuse_repeated("gpu_servers", [group.name for group in self.gpu_servers])
        return self

    @property
    def servers(self) -> int:
        """How many servers join the cluster; without any the site has no door either."""
        return sum(group.count for group in self.gpu_servers)

    @property
    def has_balancer(self) -> bool:
        """Whether a load balancer stands before the site's gateway."""
        return self.door.load_balancer == "octavia" and self.servers > 0


class ClusterSettings(Setting):
    """The Kubernetes cluster, and what of it is already there."""

    version: KubernetesVersion = "1.34"
    public_access: tuple[Cidr, ...] = ()  # who may reach the API from outside; empty: it is private
    administrators: tuple[Arn, ...] = ()
    installed: frozenset[Controller] = frozenset()
    kubeconfig: str | None = None  # file or text of the cluster to use, where EKS is an emulator's
    monitored: bool = True  # False where the kinds of Prometheus' operator are not to be
    storage_class: str | None = None  # of the registry's database; None: the stack makes an encrypted one of EBS
    mesh_init: bool = False  # the Istio that is there redirects traffic by an init container, and not by its CNI plugin


class QueueSettings(Setting):
    """How the sites lend GPUs to each other, as a share of what each has."""

    borrow: Annotated[float, Field(ge=0, le=1)] = 0.0
    lend: Annotated[float, Field(ge=0, le=1)] = 1.0


class AccessSettings(Setting):
    """Who may ask the model: tokens of this issuer."""

    issuer: HttpUrl
    jwks: HttpUrl
    audiences: tuple[Text, ...] = Field(min_length=1)


class ServingSettings(Setting):
    """The way in and how many replicas stand behind it, at each site."""

    host: HostName
    access: AccessSettings | None = None  # None: the gateway is reachable from inside alone
    replicas: Nodes = Nodes(min=1, desired=1, max=4)
    scale_on: Literal["cpu", "requests"] = "requests"  # HPA, or KEDA on requests in flight
    requests_per_replica: PositiveInt = 8
    prometheus: HttpUrl | None = None  # that KEDA asks; None: the stack's own
    runtime: Literal["onnx", "vllm"] = "onnx"
    gpus: Annotated[int, Field(ge=0, le=16)] = 0  # of each replica
    load_balancer: bool = True  # before the gateway at AWS; False for a cluster whose cloud has none


class StorageSettings(Setting):
    """The artefact store."""

    replica_region: AwsRegion | None = None  # where a disaster is survived
    noncurrent_days: PositiveInt = 90
    restore_from: BucketName | None = None  # the replicated bucket that a recovery starts from
    erasable: bool = False  # a bucket that is destroyed with what it holds: for labs


class ImageSettings(Setting):
    """Images by reference; what has none is built by the stack and pushed to its own repositories."""

    trainer: ImageReference | None = None
    trainer_efa: ImageReference | None = None  # for pools with EFA; None: built on the trainer, where that is built
    inference: ImageReference | None = None
    registry: ImageReference | None = None
    vllm: ImageReference | None = None
    postgres: ImageReference = (
        "docker.io/library/postgres:17@sha256:7958605b474b3d264a969cb3a123d6aa00ad1e1fe9da8a69984dabb704d93317"
    )
    pull: Literal["IfNotPresent", "Never", "Always"] = "IfNotPresent"
    base: ImageReference | None = None  # build argument BASE of the Dockerfiles

    @property
    def to_build(self) -> tuple[str, ...]:
        """Names of the images without a reference; vLLM's is always given."""
        given = {"trainer": self.trainer, "inference": self.inference, "registry": self.registry}
        return tuple(name for name, reference in given.items() if reference is None)


class RecoverySettings(Setting):
    """The other copy of the platform, which must be able to stand beside this one."""

    beside: tuple[PrivateCidr, ...] = ()  # its supernets, kept free here
    trusted_key: PemPublicKey | None = None  # of the models it signed


class CloudSettings(Setting):
    """Everything of a cloud stack that belongs to no single site."""

    owner: TagText
    cost_center: TagText
    contact: Contact
    monthly_budget_usd: PositiveInt
    services: PrivateCidr  # the cluster's service range
    cluster: ClusterSettings = ClusterSettings()
    queues: QueueSettings = QueueSettings()
    serving: ServingSettings
    storage: StorageSettings = StorageSettings()
    images: ImageSettings = ImageSettings()
    recovery: RecoverySettings = RecoverySettings()
    protect: bool = True  # what holds state is protected from deletion
    database_password: SecretStr | None = None  # None: drawn by the stack


def _refuse_repeated(key: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{key}: names {repeated} repeat; give each a name of its own")
