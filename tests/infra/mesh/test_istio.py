"""The mesh: mutual TLS everywhere in it, nothing allowed that is not listed, one door."""

from typing import Any

import pytest

from infra.mesh import guarding, ports
from infra.mesh.istio import mesh
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import CloudProgram, cloud_settings, declare
from tests.kit.schemas import manifests_of, validate_all

ACCESS = {"issuer": "https://login.example.org", "jwks": "https://login.example.org/jwks", "audiences": ["models"]}
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


@pytest.mark.parametrize("changes", [{}, {"cloud.serving.access": ACCESS}, {"cloud.serving.load_balancer": False}])
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
    annotations = objects(program, "Service")["istio-ingress", "istio-ingress"]["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-internal"] == "false"


def test_without_an_issuer_the_door_faces_inwards():
    program = declared()
    assert objects(program, "RequestAuthentication") == {}
    annotations = objects(program, "Service")["istio-ingress", "istio-ingress"]["metadata"]["annotations"]
    assert annotations["service.beta.kubernetes.io/aws-load-balancer-internal"] == "true"


def test_a_cluster_without_load_balancers_has_its_door_inside():
    service = objects(declared(**{"cloud.serving.load_balancer": False}), "Service")["istio-ingress", "istio-ingress"]
    assert service["spec"]["type"] == "ClusterIP"
    assert "annotations" not in service["metadata"]


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
    (deployment,) = objects(declared(), "Deployment").values()
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


def test_rules_stand_before_the_proxies_do():
    program = declared()
    proxies = program.named("door-proxies")
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
