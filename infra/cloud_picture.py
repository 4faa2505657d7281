"""From the values of a stack with clouds to the description that `infra.operations.diagram` draws. Pure."""

from infra.addressing import AddressPlan, address_plan
from infra.cloud_settings import AwsSettings, GpuPool, GpuServers, OpenStackSettings
from infra.operations.diagram import LinkPicture, PlatformPicture, ServicePicture, SitePicture
from infra.settings import Settings
from workloads.spec.recipe import Recipe


def cloud_picture(settings: Settings, recipe: Recipe) -> PlatformPicture:
    """The platform as it would be: nothing has to be up.

    Raises:
        UserError: the addresses do not fit.
    """
    cloud, plan = settings.of_cloud, address_plan(settings)
    (aws_site, aws), (other, project) = settings.aws_site, settings.openstack_site
    serving = f"{cloud.serving.runtime.upper()}, {cloud.serving.replicas.min} to {cloud.serving.replicas.max}"
    sites = {
        aws_site.name: SitePicture(
            name=aws_site.name,
            label=f"AWS, {aws.region}, {aws.zones} zones",
            services=(
                ServicePicture("VPC", f"{plan.aws.vpc}, AS {plan.aws.asn}"),
                ServicePicture("control plane (EKS)", f"Kubernetes {cloud.cluster.version}"),
                ServicePicture("trainers (GPU pools)", _of_pools(aws)),
                ServicePicture("replicas", serving),
                ServicePicture("door (Istio)", _network_balancer(settings)),
                ServicePicture("artefacts (S3)", _replicated(settings)),
            ),
        ),
        other.name: SitePicture(
            name=other.name,
            label=f"OpenStack, {project.region}",
            services=(
                ServicePicture("network", f"{plan.openstack.supernet}, AS {plan.openstack.asn}"),
                ServicePicture(f"VPN ({project.vpn})", f"{plan.openstack.gateway}, MTU {plan.tunnel_mtu}"),
                ServicePicture("trainers (hybrid nodes)", _of_servers(project)),
                ServicePicture("replicas", serving),
                ServicePicture("door (Istio)", _octavia(project, plan)),
                ServicePicture(f"artefacts ({project.object_store.kind} by S3)", project.object_store.region),
            ),
        ),
    }
    return PlatformPicture(
        title="Isthmus",
        subtitle=f"{recipe.name}: {recipe.description}",
        sites=tuple(sites[site.name] for site in settings.sites),
        links=tuple(LinkPicture(link.between, link.rate, link.rtt_ms) for link in settings.links),
        shared=(
            ServicePicture("models (TLS, at each door)", cloud.serving.host),
            ServicePicture("queue (Kueue, JobSet)", "training, serving"),
            ServicePicture("registry (MLflow)", "inside the cluster"),
        ),
    )


def _of_pools(values: AwsSettings) -> str:
    def one(pool: GpuPool) -> str:
        return f"{pool.nodes.desired} x {pool.instance_type}, {pool.capacity}{', EFA' if pool.efa else ''}"

    return "; ".join(map(one, values.gpu_pools)) or "none"


def _of_servers(project: OpenStackSettings) -> str:
    def one(group: GpuServers) -> str:
        return f"{group.count} x {group.flavor}, {group.gpu.count} {group.gpu.kind}"

    return "; ".join(map(one, project.gpu_servers)) or "none"


def _network_balancer(settings: Settings) -> str:
    serving = settings.of_cloud.serving
    if not serving.load_balancer:
        return "inside the cluster"
    return f"NLB, {'internal' if serving.access is None else 'public'}"


def _octavia(project: OpenStackSettings, plan: AddressPlan) -> str:
    if not project.servers:
        return "none: no nodes"
    if not project.has_balancer:
        return "inside the cluster"
    return f"Octavia, {plan.openstack.door}{', floating IP' if project.door.floating_ip else ''}"


def _replicated(settings: Settings) -> str:
    region = settings.of_cloud.storage.replica_region
    return "versioned" if region is None else f"copied to {region}"
