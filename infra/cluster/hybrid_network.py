"""Pod network and DNS of the OpenStack side: Cilium on hybrid nodes alone, and a CoreDNS that the link is not needed for."""

from typing import Any, Final

import pulumi

from infra.addressing import POD_BLOCK, AddressPlan
from infra.cloud_contracts import ClusterContract
from infra.cluster.nodes import GPU_TAINT
from infra.manifests import apply, restricted
from infra.releases import CHARTS, OFF_HYBRID_NODES, release
from infra.scope import Scope
from infra.settings import Settings

COMPUTE_TYPE: Final = ("eks.amazonaws.com/compute-type", "hybrid")
"""The label that nodeadm gives to hybrid nodes."""

ON_HYBRID_NODES: Final = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {"matchExpressions": [{"key": COMPUTE_TYPE[0], "operator": "In", "values": [COMPUTE_TYPE[1]]}]}
            ]
        }
    }
}

COREDNS_IMAGE: Final = (
    "registry.k8s.io/coredns/coredns:v1.12.1@sha256:e8c262566636e6bc340ece6473b0eed193cad045384401529721ddbe6463d31c"
)
"""Kubernetes 1.34's own, of the add-on's minor version, so that both read one Corefile."""

_BGP: Final = "cilium.io/v2"
_ADVERTISED: Final = {"advertise": "pods"}


def install(
    scope: Scope, settings: Settings, addresses: AddressPlan, cluster: ClusterContract
) -> tuple[pulumi.Resource, ...]:
    """Cilium, its BGP towards the gateway, and the other side's CoreDNS; nothing where no server will ever need it."""
    _, values = settings.openstack_site
    if not values.servers:
        return ()
    routed = values.vpn == "gateway"
    cilium = release(scope, CHARTS["cilium"], cilium_values(addresses, routed=routed), *cluster.ready)
    peers = [
        # their kinds are there once the operator is
        apply(scope, f"cilium-{manifest['kind'].removeprefix('CiliumBGP').lower()}", manifest, cilium)
        for manifest in (bgp_manifests(addresses) if routed else ())
    ]
    dns = apply(scope, "coredns-hybrid", coredns_manifest(min(2, values.servers)), *cluster.ready)
    return (cilium, *peers, dns)


def cilium_values(addresses: AddressPlan, *, routed: bool) -> dict[str, Any]:
    """Values of AWS's Cilium chart. `routed`: whether the gateway learns which node has which pods.

    From https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cni.html, which puts the operator on hybrid nodes
    as well. Here it stands on AWS: it serves nodes that join later, and a release that waits for an operator that waits
    for a node would never be done.
    """
    return {
        "affinity": ON_HYBRID_NODES,
        "operator": {"affinity": dict(OFF_HYBRID_NODES), "unmanagedPodWatcher": {"restart": False}},
        "ipam": {
            "mode": "cluster-pool",
            "operator": {
                "clusterPoolIPv4PodCIDRList": [str(addresses.openstack.pods)],
                "clusterPoolIPv4MaskSize": POD_BLOCK,
            },
        },
        "routingMode": "tunnel",
        "tunnelProtocol": "vxlan",
        # of the network beneath; Cilium takes VXLAN's 50 bytes off for pods, which leaves what the plan calls pod_mtu
        "MTU": addresses.tunnel_mtu,
        # a pod keeps its address towards the VPC, where routes, rules and policies go by it
        **({"ipv4NativeRoutingCIDR": str(addresses.aws.vpc)} if routed else {}),
        "bgpControlPlane": {"enabled": routed},
        "loadBalancer": {"serviceTopology": True},
        "envoy": {"enabled": False},
        # Istio's: https://istio.io/latest/docs/setup/platform-setup/cilium/
        "socketLB": {"hostNamespaceOnly": True},
        "cni": {"exclusive": False},
    }


def bgp_manifests(addresses: AddressPlan) -> tuple[dict[str, Any], ...]:
    """Each hybrid node tells the gateway its block of pods, within one AS.

    https://docs.aws.amazon.com/eks/latest/userguide/hybrid-nodes-cilium-bgp.html
    """
    here = addresses.openstack
    label, value = COMPUTE_TYPE
    instance = {
        "name": "site",
        "localASN": here.asn,
        "peers": [
            {
                "name": "gateway",
                "peerASN": here.asn,
                "peerAddress": str(here.gateway),
                "peerConfigRef": {"name": "gateway"},
            }
        ],
    }
    return (
        {
            "apiVersion": _BGP,
            "kind": "CiliumBGPAdvertisement",
            "metadata": {"name": "pods", "labels": _ADVERTISED},
            "spec": {"advertisements": [{"advertisementType": "PodCIDR"}]},
        },
        {
            "apiVersion": _BGP,
            "kind": "CiliumBGPPeerConfig",
            "metadata": {"name": "gateway"},
            "spec": {
                # as the gateway has them
                "timers": {"holdTimeSeconds": 30, "keepAliveTimeSeconds": 10},
                "gracefulRestart": {"enabled": True, "restartTimeSeconds": 60},
                "families": [{"afi": "ipv4", "safi": "unicast", "advertisements": {"matchLabels": _ADVERTISED}}],
            },
        },
        {
            "apiVersion": _BGP,
            "kind": "CiliumBGPClusterConfig",
            "metadata": {"name": "gateway"},
            "spec": {"nodeSelector": {"matchLabels": {label: value}}, "bgpInstances": [instance]},
        },
    )


def coredns_manifest(replicas: int) -> dict[str, Any]:
    """CoreDNS on hybrid nodes behind the same Service as the add-on's, with its configuration and rights.

    The add-on's own replicas are placed before any hybrid node is there and stay where they are.
    """
    labels = {"k8s-app": "kube-dns", "app.kubernetes.io/name": "coredns-hybrid"}
    key, value, effect = GPU_TAINT
    container = {
        "name": "coredns",
        "image": COREDNS_IMAGE,
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "containerPort": 53, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9153, "protocol": "TCP"},
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "70Mi"}, "limits": {"memory": "170Mi"}},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "initialDelaySeconds": 60},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}},
        "securityContext": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "coredns-hybrid",
            "namespace": "kube-system",
            # it waits for nodes that are made after it
            "annotations": {"pulumi.com/skipAwait": "true"},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": restricted(
                    {
                        "serviceAccountName": "coredns",
                        "automountServiceAccountToken": True,  # it watches Services
                        "priorityClassName": "system-cluster-critical",
                        "dnsPolicy": "Default",
                        "affinity": ON_HYBRID_NODES,
                        "tolerations": [{"key": key, "operator": "Equal", "value": value, "effect": effect}],
                        "topologySpreadConstraints": [
                            {
                                "maxSkew": 1,
                                "topologyKey": "kubernetes.io/hostname",
                                "whenUnsatisfiable": "ScheduleAnyway",
                                "labelSelector": {"matchLabels": labels},
                            }
                        ],
                        "containers": [container],
                        "volumes": [
                            {
                                "name": "config",
                                "configMap": {"name": "coredns", "items": [{"key": "Corefile", "path": "Corefile"}]},
                            }
                        ],
                    }
                ),
            },
        },
    }
