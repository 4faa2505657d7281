"""The mesh: mutual TLS everywhere in it, nothing allowed that is not listed, one door a site."""

from types import SimpleNamespace
from typing import Any

import pytest

from infra.mesh import guarding, ingress, ports
from infra.mesh.istio import mesh
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare
from tests.kit.schemas import manifests_of, validate_all

ACCESS = {"issuer": "https://login.example.org", "jwks": "https://login.example.org/jwks", "audiences": ["models"]}
INSIDE = {"cloud.serving.load_balancer": False, "sites.1.openstack.door.load_balancer": "none"}
AWS_DOOR, OS_DOOR = ("istio-ingress", "istio-ingress"), ("istio-ingress", "istio-ingress-os-1")
SERVERS = "sites.1.openstack.gpu_servers"
HELM = "kubernetes:helm.sh/v3:Release"


def declared(**changes: Any) -> CloudProgram:
    settings = cloud_settings(**changes)
    return declare(
        lambda scope: mesh(
            fakes.inside(scope), settings, fakes.controllers(), fakes.certificates(), fakes.namespaces()
        ),
        settings,
    )


def objects(program: CloudProgram, kind: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (manifest["metadata"]["namespace"], manifest["metadata"]["name"]): manifest
        for manifest in manifests_of(program)
        if manifest["kind"] == kind
    }


@pytest.mark.parametrize("changes", [{}, {"cloud.serving.access": ACCESS}, INSIDE])
def test_every_object_fits_the_schema(changes):
    assert validate_all(manifests_of(declared(**changes))) > 20


def test_istiod_comes_last_and_stays_off_hybrid_nodes():
    program = declared()
    istiod = program.named("istiod")
    assert {program.named("istio-base").urn, program.named("istio-cni").urn} <= set(istiod.depends_on)
    (term,) = istiod.inputs["values"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"] == [
        {"key": "eks.amazonaws.com/compute-type", "operator": "NotIn", "values": ["hybrid"]}
    ]
    assert istiod.inputs["values"]["cni"] == {"enabled": True}


@pytest.mark.parametrize("chart", ["istio-base", "istiod"])
def test_the_chart_writes_of_the_webhook_what_istiod_writes(chart):
    assert declared().named(chart).inputs["values"]["base"] == {"validationFailurePolicy": "Fail"}


def test_an_istio_that_is_there_is_used_as_it_is():
    program = declared(**{"cloud.cluster.installed": ["istio"]})
    assert program.of_type(HELM) == []
    assert objects(program, "Gateway")
    assert ("istio-system", "deny-all") in objects(program, "AuthorizationPolicy")


def test_mutual_tls_is_strict_for_the_whole_mesh():
    found = objects(declared(), "PeerAuthentication")
    assert found["istio-system", "default"]["spec"] == {"mtls": {"mode": "STRICT"}}
    # plain text where the caller has no sidecar, on that port alone
    assert {key: manifest["spec"]["portLevelMtls"] for key, manifest in found.items() if key[1] != "default"} == {
        ("isthmus-registry", "registry"): {str(ports.REGISTRY): {"mode": "PERMISSIVE"}},
        ("isthmus-serving", "inference"): {str(ports.INFERENCE_HEALTH): {"mode": "PERMISSIVE"}},
    }


def test_nothing_is_allowed_but_these_calls():
    found = objects(declared(), "AuthorizationPolicy")
    assert found["istio-system", "deny-all"]["spec"] == {}
    calls = set()
    for (namespace, name), manifest in found.items():
        for rule in manifest["spec"].get("rules", ()):
            sources = [each["source"] for each in rule.get("from", ())] or [{}]
            operations = [each["operation"] for each in rule["to"]]
            calls |= {
                (
                    next(iter(source.get("principals", source.get("notPrincipals", ["anybody"])))),
                    namespace,
                    name,
                    *operation.get("ports", ()),
                )
                for source in sources
                for operation in operations
            }
    assert calls == {
        ("anybody", "istio-ingress", "entry"),
        ("cluster.local/ns/istio-ingress/sa/istio-ingress", "isthmus-serving", "inference", "8080"),
        ("*", "isthmus-serving", "inference", "8081"),  # has no identity: Prometheus
        ("cluster.local/ns/isthmus-serving/sa/inference", "isthmus-registry", "registry", "5000"),
        ("*", "isthmus-registry", "registry", "5000"),  # has no identity: trainers
        ("cluster.local/ns/isthmus-registry/sa/registry", "isthmus-registry", "database", "5432"),
    }


def test_with_an_issuer_the_door_wants_its_token():
    program = declared(**{"cloud.serving.access": ACCESS})
    (tokens,) = objects(program, "RequestAuthentication").values()
    (jwt,) = tokens["spec"]["jwtRules"]
    assert jwt["audiences"] == ["models"]
    (rule,) = objects(program, "AuthorizationPolicy")["istio-ingress", "entry"]["spec"]["rules"]
    assert rule["from"] == [{"source": {"requestPrincipals": ["https://login.example.org/*"]}}]
    annotations = objects(program, "Service")[AWS_DOOR]["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-internal"] == "false"


def test_without_an_issuer_the_door_faces_inwards():
    program = declared()
    assert objects(program, "RequestAuthentication") == {}
    annotations = objects(program, "Service")[AWS_DOOR]["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-internal"] == "true"


def test_clouds_without_load_balancers_have_their_doors_inside_one_by_one():
    services = objects(declared(**INSIDE), "Service")
    assert {key: service["spec"]["type"] for key, service in services.items()} == {
        AWS_DOOR: "ClusterIP",
        OS_DOOR: "ClusterIP",
    }
    assert "annotations" not in services[AWS_DOOR]["metadata"]
    for key, kinds in {
        "cloud.serving.load_balancer": ("ClusterIP", "NodePort"),
        "sites.1.openstack.door.load_balancer": ("LoadBalancer", "ClusterIP"),
    }.items():
        services = objects(declared(**{key: INSIDE[key]}), "Service")
        assert tuple(services[door]["spec"]["type"] for door in (AWS_DOOR, OS_DOOR)) == kinds


def test_the_door_of_openstack_is_found_at_one_port_of_the_nodes_that_have_a_proxy():
    spec = objects(declared(), "Service")[OS_DOOR]["spec"]
    (port,) = spec["ports"]
    assert (spec["type"], spec["externalTrafficPolicy"]) == ("NodePort", "Local")
    assert (port["port"], port["targetPort"], port["nodePort"]) == (443, 443, ports.DOOR_NODE)
    assert 30000 <= ports.DOOR_NODE < 30086  # the part of the range that is given to nobody else


@pytest.mark.parametrize("kind", ["Deployment", "PodDisruptionBudget", "Service"])
def test_each_door_s_objects_are_about_its_own_proxies_alone(kind):
    program = declared()
    pods = {
        name: manifest["spec"]["template"]["metadata"]["labels"]
        for name, manifest in objects(program, "Deployment").items()
    }
    assert set(pods) == {AWS_DOOR, OS_DOOR}
    for name, manifest in objects(program, kind).items():
        selector = manifest["spec"]["selector"]
        selected = selector.get("matchLabels", selector)
        assert [door for door, labels in pods.items() if selected.items() <= labels.items()] == [name]


@pytest.mark.parametrize("kind", ["Gateway", "AuthorizationPolicy", "RequestAuthentication"])
def test_one_gateway_and_its_rules_are_about_both_doors(kind):
    program = declared(**{"cloud.serving.access": ACCESS})
    (manifest,) = (m for (space, _), m in objects(program, kind).items() if space == "istio-ingress")
    selector = manifest["spec"]["selector"]
    selected = selector.get("matchLabels", selector)
    for door in objects(program, "Deployment").values():
        pod = door["spec"]["template"]
        assert selected.items() <= pod["metadata"]["labels"].items()
        assert pod["spec"]["serviceAccountName"] == guarding.INGRESS_ACCOUNT


def test_a_door_stands_at_its_own_site_on_different_hosts():
    doors = objects(declared(), "Deployment")
    here, there = (doors[door]["spec"]["template"]["spec"] for door in (AWS_DOOR, OS_DOOR))
    assert here["affinity"]["nodeAffinity"]
    assert "nodeSelector" not in here
    assert there["nodeSelector"] == {ports.SITE_LABEL: "os-1"}
    assert [(each["key"], each["effect"]) for each in there["tolerations"]] == [("nvidia.com/gpu", "NoSchedule")]
    for pod in (here, there):
        assert {each["topologyKey"] for each in pod["topologySpreadConstraints"]} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }


@pytest.mark.parametrize(("count", "replicas"), [(1, 1), (2, 2), (5, 2)])
def test_the_door_of_openstack_has_as_many_proxies_as_servers_at_most(count, replicas):
    program = declared(**{f"{SERVERS}.0.count": count})
    assert objects(program, "Deployment")[OS_DOOR]["spec"]["replicas"] == replicas
    assert objects(program, "PodDisruptionBudget")[OS_DOOR]["spec"]["maxUnavailable"] == 1


def test_a_site_without_servers_has_no_door():
    program = declared(**{SERVERS: []})
    assert set(objects(program, "Deployment")) == set(objects(program, "Service")) == {AWS_DOOR}
    assert set(program.result.doors) == {"aws-1"}


def test_only_the_door_near_the_control_plane_is_waited_for():
    program = declared()
    for kind in ("Deployment", "Service"):
        found = objects(program, kind)
        assert found[OS_DOOR]["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
        assert "pulumi.com/skipAwait" not in found[AWS_DOOR]["metadata"].get("annotations", {})


def test_a_door_is_called_as_its_load_balancer_is_and_else_as_in_the_cluster():
    def status(*given: dict[str, str | None]) -> SimpleNamespace:
        each = [SimpleNamespace(**{"hostname": None, "ip": None, **one}) for one in given]
        return SimpleNamespace(load_balancer=SimpleNamespace(ingress=each or None))

    assert ingress.given_name(status({"hostname": "x.elb.amazonaws.com"}), "door") == "x.elb.amazonaws.com"
    assert ingress.given_name(status({"ip": "192.0.2.1"}), "door") == "192.0.2.1"
    assert ingress.given_name(status(), "door") == "door"
    assert ingress.given_name(None, "door") == "door"


def test_the_gateway_has_tls_of_the_ingress_authority_for_its_host_alone():
    program = declared()
    (gateway,) = objects(program, "Gateway").values()
    (https,) = gateway["spec"]["servers"]
    (certificate,) = objects(program, "Certificate").values()
    assert https["tls"]["credentialName"] == certificate["spec"]["secretName"]
    assert https["tls"]["minProtocolVersion"] == "TLSV1_2"
    assert https["hosts"] == certificate["spec"]["dnsNames"] == ["models.dev.example.org"]
    assert certificate["spec"]["issuerRef"]["name"] == "isthmus-ingress"
    assert certificate["metadata"]["namespace"] == "istio-ingress"
    assert program.result.gateway == "istio-ingress/models"


def test_the_doors_proxies_are_restricted_injected_and_more_than_one():
    deployment = objects(declared(), "Deployment")[AWS_DOOR]
    template = deployment["spec"]["template"]
    assert deployment["spec"]["replicas"] == 2
    assert template["metadata"]["annotations"] == {"inject.istio.io/templates": "gateway"}
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "true"
    (container,) = template["spec"]["containers"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    # without it the API server would write Always, for want of a tag
    assert (container["image"], container["imagePullPolicy"]) == ("auto", "IfNotPresent")
    assert template["spec"]["serviceAccountName"] == guarding.INGRESS_ACCOUNT


def test_services_without_a_rule_of_their_own_fail_over_too():
    (default,) = objects(declared(), "DestinationRule").values()
    policy = default["spec"]["trafficPolicy"]
    assert default["spec"]["host"] == "*.isthmus-serving.svc.cluster.local"
    assert policy["outlierDetection"]
    assert policy["loadBalancer"]["localityLbSetting"]["enabled"]


@pytest.mark.parametrize("door", ["door", "os-1-door"])
def test_rules_stand_before_the_proxies_do(door):
    program = declared()
    proxies = program.named(f"{door}-proxies")
    entry = program.named("mesh-istio-ingress-entry-authorizationpolicy")
    assert {entry.urn, program.named("door-default-deny").urn} <= set(proxies.depends_on)


def test_the_door_reads_secrets_of_its_own_namespace_alone():
    program = declared()
    (role,) = objects(program, "Role").values()
    assert role["metadata"]["namespace"] == "istio-ingress"
    assert [(rule["resources"], rule["verbs"]) for rule in role["rules"]] == [(["secrets"], ["get", "list", "watch"])]
    assert objects(program, "ClusterRole") == {}
    created = program.one("kubernetes:rbac.authorization.k8s.io/v1:Role")
    assert program.named("istio-ingress").urn in created.depends_on


def test_every_request_at_the_door_is_logged_and_inside_those_that_failed():
    found = objects(declared(), "Telemetry")
    (door,) = found["istio-ingress", "access-logs"]["spec"]["accessLogging"]
    (inside,) = found["istio-system", "access-logs"]["spec"]["accessLogging"]
    assert "filter" not in door
    assert inside["filter"] == {"expression": "response.code >= 400"}
