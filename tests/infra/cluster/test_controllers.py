"""What is installed where the cluster has it not, and where its webhooks stand."""

import pytest

from infra.addressing import VXLAN_OVERHEAD, address_plan
from infra.cluster import chart_values, controllers, hybrid_network
from infra.releases import CHARTS
from tests.kit import schemas
from tests.kit.cloud import cloud_settings

RELEASE = "kubernetes:helm.sh/v3:Release"
INSTALLED = "cloud.cluster.installed"
ALL = [
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
OFF_HYBRID = {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["hybrid"]}
EFA_POOL = {"name": "big", "instance_type": "p5.48xlarge", "nodes": {"min": 0, "desired": 1, "max": 2}}


def released(program):
    return {release.inputs["name"]: release.inputs for release in program.of_type(RELEASE)}


def terms(affinity):
    (term,) = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    return term["matchExpressions"]


def test_an_empty_cluster_gets_everything_but_the_mesh_and_the_monitoring(installed):
    assert released(installed()).keys() == {
        "cert-manager",
        "cilium",
        "gpu-operator",
        "jobset",
        "karpenter",
        "karpenter-crd",
        "keda",
        "kueue",
        "metrics-server",
    }


def test_a_cluster_that_has_everything_gets_nothing(installed):
    program = installed(**{INSTALLED: ALL, "cloud.cluster.kubeconfig": "/etc/lab/admin.conf"})
    assert [r for r in program.resources if r.custom and not r.type.startswith("pulumi:")] == []
    assert program.result.ready == ()


@pytest.mark.parametrize(
    "name", ["cert-manager", "cilium", "gpu-operator", "jobset", "karpenter", "keda", "kueue", "metrics"]
)
def test_what_is_there_already_is_left_alone(installed, name):
    missing = released(installed()).keys() - released(installed(**{INSTALLED: [name]})).keys()
    assert missing == {chart.name for key, chart in CHARTS.items() if key in {name, f"{name}-crd"}}


def test_releases_are_pinned_and_whole_or_not_at_all(installed):
    for name, release in released(installed()).items():
        assert release["version"], name
        assert release["atomic"] is True


@pytest.mark.parametrize(
    "affinity",
    [
        chart_values.cert_manager_values()["affinity"],
        chart_values.cert_manager_values()["webhook"]["affinity"],
        chart_values.cert_manager_values()["cainjector"]["affinity"],
        chart_values.cert_manager_values()["startupapicheck"]["affinity"],
        chart_values.jobset_values()["controller"]["affinity"],
        chart_values.keda_values()["affinity"],
        chart_values.metrics_values()["affinity"],
        chart_values.gpu_operator_values()["operator"]["affinity"],
    ],
)
def test_webhooks_stand_where_a_cut_link_does_not_take_them_away(affinity):
    assert terms(affinity) == [OFF_HYBRID]


def test_kueues_webhooks_stand_on_the_system_nodes(installed):
    values = released(installed())["kueue"]["values"]
    assert values["controllerManager"]["nodeSelector"] == {"isthmus.dev/pool": "system"}


def test_nvidias_runtime_is_the_default_and_the_driver_is_the_images_own():
    values = chart_values.gpu_operator_values()
    assert {"name": "NVIDIA_RUNTIME_SET_AS_DEFAULT", "value": "true"} in values["toolkit"]["env"]
    assert values["toolkit"]["enabled"] is True
    assert values["driver"]["enabled"] is False
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in values["daemonsets"][
        "tolerations"
    ]


def test_the_efa_plugin_comes_with_the_first_pool_that_has_efa(installed):
    assert "aws-efa-k8s-device-plugin" not in released(installed())
    program = installed(**{"sites.0.aws.gpu_pools": [EFA_POOL | {"efa": True, "placement_group": True}]})
    plugin = released(program)["aws-efa-k8s-device-plugin"]
    assert plugin["values"]["supportedInstanceLabels"]["values"] == ["p5.48xlarge"]


def test_the_efa_plugin_is_new_enough_for_b200():
    version = tuple(int(part) for part in chart_values.EFA_CHART.installs.split("."))
    assert version >= (0, 5, 10)


def test_cilium_runs_on_hybrid_nodes_alone_and_gets_on_with_istio():
    values = hybrid_network.cilium_values(address_plan(cloud_settings()), routed=True)
    (term,) = terms(values["affinity"])
    assert term == {"key": "eks.amazonaws.com/compute-type", "operator": "In", "values": ["hybrid"]}
    assert values["socketLB"]["hostNamespaceOnly"] is True
    assert values["cni"]["exclusive"] is False
    assert values["operator"]["unmanagedPodWatcher"]["restart"] is False
    assert values["envoy"]["enabled"] is False


def test_the_release_of_cilium_does_not_wait_for_a_node_that_waits_for_it():
    values = hybrid_network.cilium_values(address_plan(cloud_settings()), routed=True)
    assert terms(values["operator"]["affinity"]) == [OFF_HYBRID]


@pytest.mark.parametrize("mtu", [1442, 1500])
def test_what_a_pod_may_send_is_what_the_plan_says(mtu):
    plan = address_plan(cloud_settings(**{"sites.1.openstack.mtu": mtu}))
    assert hybrid_network.cilium_values(plan, routed=True)["MTU"] - VXLAN_OVERHEAD == plan.pod_mtu


def test_pods_have_the_plans_range_and_keep_their_addresses_towards_the_vpc():
    plan = address_plan(cloud_settings())
    values = hybrid_network.cilium_values(plan, routed=True)
    assert values["ipam"]["operator"]["clusterPoolIPv4PodCIDRList"] == [str(plan.openstack.pods)]
    assert values["ipv4NativeRoutingCIDR"] == str(plan.aws.vpc)
    assert "ipv4NativeRoutingCIDR" not in hybrid_network.cilium_values(plan, routed=False)


def test_nodes_tell_the_gateway_their_pods_within_one_as():
    plan = address_plan(cloud_settings())
    advertisement, peer, cluster = hybrid_network.bgp_manifests(plan)
    (instance,) = cluster["spec"]["bgpInstances"]
    (gateway,) = instance["peers"]
    assert instance["localASN"] == gateway["peerASN"] == plan.openstack.asn
    assert gateway["peerAddress"] == str(plan.openstack.gateway)
    assert gateway["peerConfigRef"]["name"] == peer["metadata"]["name"]
    (family,) = peer["spec"]["families"]
    assert family["advertisements"]["matchLabels"] == advertisement["metadata"]["labels"]
    assert cluster["spec"]["nodeSelector"] == {"matchLabels": {"eks.amazonaws.com/compute-type": "hybrid"}}


def test_where_the_cloud_ends_the_vpn_nobody_is_told_of_pods(installed):
    kinds = {r.type for r in installed(**{"sites.1.openstack.vpn": "vpnaas"}).resources}
    assert not {kind for kind in kinds if "CiliumBGP" in kind}
    assert {kind for kind in {r.type for r in installed().resources} if "CiliumBGP" in kind}


def test_without_servers_there_is_no_second_pod_network(installed):
    program = installed(**{"sites.1.openstack.gpu_servers": []})
    assert "cilium" not in released(program)
    assert not program.of_type("kubernetes:apps/v1:Deployment")


def test_the_other_side_has_a_core_dns_of_its_own_behind_the_same_service():
    manifest = hybrid_network.coredns_manifest(1)
    pod = manifest["spec"]["template"]
    assert pod["metadata"]["labels"]["k8s-app"] == "kube-dns"
    assert manifest["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]  # and so not the add-on's pods
    assert terms(pod["spec"]["affinity"])[0]["operator"] == "In"
    assert {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"} in pod["spec"][
        "tolerations"
    ]
    assert "@sha256:" in pod["spec"]["containers"][0]["image"]
    assert manifest["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_names_are_looked_up_at_the_nearest_replica(installed):
    patch = installed().one("kubernetes:core/v1:ServicePatch").inputs
    assert (patch["metadata"]["namespace"], patch["metadata"]["name"]) == ("kube-system", "kube-dns")
    assert patch["spec"]["trafficDistribution"] == "PreferClose"


@pytest.mark.parametrize(("keep", "policy"), [(True, "Retain"), (False, "Delete")])
def test_disks_are_encrypted_and_outlive_their_claims_where_the_stack_protects(keep, policy):
    made = controllers.storage_class(keep=keep)
    assert made["parameters"]["encrypted"] == "true"
    assert made["reclaimPolicy"] == policy
    assert made["volumeBindingMode"] == "WaitForFirstConsumer"


def test_a_given_cluster_keeps_its_own_disks_and_dns(installed):
    program = installed(**{"cloud.cluster.kubeconfig": "/etc/lab/admin.conf"})
    assert not program.of_type("kubernetes:storage.k8s.io/v1:StorageClass")
    assert not program.of_type("kubernetes:core/v1:ServicePatch")


def test_the_api_server_would_take_every_object():
    assert schemas.validate_all([hybrid_network.coredns_manifest(2), controllers.storage_class(keep=True)]) == 2
