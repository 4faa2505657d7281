"""The service: replicas at both sites behind one name, each with its own site's copy of the model."""

import pytest

from infra.manifests import restricted
from infra.mesh.fencing import Networks, policies
from tests.infra.apps.program import containers, environment, objects, pod_specs, served, told
from tests.kit.cloud import cloud_settings
from tests.kit.schemas import manifests_of, validate_all
from workloads.spec.delivery import FetchLaunch, Store
from workloads.spec.launch import ServeLaunch

SITES = ("aws-1", "os-1")
VLLM = {"cloud.serving.runtime": "vllm", "cloud.serving.gpus": 1}


@pytest.fixture(scope="module")
def program():
    return served()


@pytest.fixture(scope="module")
def vllm():
    return served(**VLLM)


def deployment(program, site="aws-1"):
    return objects(program, "Deployment")[f"inference-{site}"]


def pod(program, site="aws-1"):
    return deployment(program, site)["spec"]["template"]["spec"]


def launches(program, site="aws-1"):
    files = told(deployment(program, site)["spec"]["template"])
    return FetchLaunch.model_validate_json(files["fetch.json"]), ServeLaunch.model_validate_json(files["serve.json"])


def test_every_object_fits_the_schema(program, vllm):
    assert validate_all(manifests_of(program)) == 13
    assert validate_all(manifests_of(vllm)) == 14
    assert validate_all(manifests_of(served(**{"cloud.serving.scale_on": "cpu"}))) == 13


def test_every_pod_is_restricted_and_has_no_token(program, vllm):
    for declared in (program, vllm):
        pods = pod_specs(declared)
        assert len(pods) == 2
        for each in pods:
            assert restricted(each) == each
            assert each["automountServiceAccountToken"] is False


@pytest.mark.parametrize("site", SITES)
def test_a_replica_fetches_from_its_own_site_s_store_and_serves_what_it_has_verified(program, site):
    fetch, serve = launches(program, site)
    assert fetch.stores == (Store(address=f"s3://isthmus-dev-{site}", profile=site),)
    assert (fetch.recipe, fetch.alias, fetch.run_id) == ("language", "champion", "iris-0123456789")
    assert serve.model == fetch.folder / "model"
    assert (serve.public_key, serve.version) == (fetch.public_keys[0], None)
    assert serve.site == site
    steps = containers(pod(program, site))
    assert [step["name"] for step in pod(program, site)["initContainers"]] == ["fetch"]
    assert steps["fetch"]["args"] == ["workloads.delivery", "fetch", "/etc/isthmus/specs/fetch.json"]
    assert steps["server"]["args"] == ["workloads.inference", "/etc/isthmus/specs/serve.json"]
    assert environment(steps["fetch"])["AWS_PROFILE"] == site


def test_plain_text_is_served_on_loopback_behind_the_proxy(program):
    _, serve = launches(program)
    assert (serve.listen.host, serve.listen.port, serve.credentials) == ("127.0.0.1", 8080, None)
    listeners = {each["port"]["number"]: each for each in objects(program, "Sidecar")["inference"]["spec"]["ingress"]}
    assert listeners[8080]["defaultEndpoint"] == "127.0.0.1:8080"


def test_health_is_asked_for_where_only_health_is_told(program):
    _, serve = launches(program)
    assert serve.health is not None
    assert (serve.health.host, serve.health.port) == ("0.0.0.0", 8081)  # noqa: S104 - inside a pod
    server = containers(pod(program))["server"]
    for kind in ("startup", "readiness", "liveness"):
        assert server[f"{kind}Probe"]["httpGet"]["port"] == 8081
    assert {port["containerPort"] for port in server["ports"]} == {8080, 8081}


def test_replicas_of_a_new_run_take_over_one_by_one_and_never_leave_nobody(program):
    spec = deployment(program)["spec"]
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert deployment(program)["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    grace = spec["template"]["spec"]["terminationGracePeriodSeconds"]
    leaves = containers(pod(program))["server"]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert grace > leaves + 30


@pytest.mark.parametrize("site", SITES)
def test_replicas_stand_at_their_site_apart_from_each_other(program, site):
    placed = pod(program, site)
    assert placed["nodeSelector"] == {"isthmus.dev/site": site}
    assert {each["topologyKey"] for each in placed["topologySpreadConstraints"]} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    selected = deployment(program, site)["spec"]["selector"]["matchLabels"]
    for each in placed["topologySpreadConstraints"]:
        assert each["labelSelector"]["matchLabels"] == selected


@pytest.mark.parametrize("site", SITES)
def test_requests_in_flight_decide_how_many_replicas_there_are(program, site):
    spec = objects(program, "ScaledObject")[f"inference-{site}"]["spec"]
    trigger = spec["triggers"][0]["metadata"]
    assert trigger["query"] == f'sum(isthmus_inference_requests_in_flight{{site="{site}"}})'
    assert trigger["threshold"] == "8"
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 4)
    assert "spec.replicas" in program.named(f"{site}-inference").ignore_changes


def test_what_the_autoscaler_counts_is_what_replicas_tell(program, tmp_path):
    from tests.kit.replicas import table_launch  # noqa: PLC0415
    from workloads.inference.watching import Requests  # noqa: PLC0415

    told = {metric.name for metric in Requests(table_launch(tmp_path)).registry.collect()}
    query = objects(program, "ScaledObject")["inference-aws-1"]["spec"]["triggers"][0]["metadata"]["query"]
    assert query.removeprefix("sum(").partition("{")[0] in told


def test_cpu_decides_where_the_stack_says_so():
    program = served(**{"cloud.serving.scale_on": "cpu", "cloud.cluster.monitored": False})
    spec = objects(program, "HorizontalPodAutoscaler")["inference-os-1"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (1, 4)
    assert spec["metrics"][0]["containerResource"]["container"] == "server"
    assert not objects(program, "ScaledObject")


def test_another_prometheus_can_be_asked():
    own = {"cloud.cluster.monitored": False, "cloud.serving.prometheus": "http://prometheus.example.org"}
    spec = objects(served(**own), "ScaledObject")["inference-os-1"]["spec"]
    assert spec["triggers"][0]["metadata"]["serverAddress"] == "http://prometheus.example.org"


def test_nodes_are_emptied_one_replica_at_a_time(program):
    for site in SITES:
        budget = objects(program, "PodDisruptionBudget")[f"inference-{site}"]["spec"]
        assert budget["maxUnavailable"] == 1
        assert budget["selector"]["matchLabels"] == deployment(program, site)["spec"]["selector"]["matchLabels"]


def test_one_name_leads_to_replicas_of_both_sites(program):
    service = objects(program, "Service")["inference"]["spec"]
    for site in SITES:
        labels = deployment(program, site)["spec"]["template"]["metadata"]["labels"]
        assert service["selector"].items() <= labels.items()
    rule = objects(program, "DestinationRule")["inference"]["spec"]
    route = objects(program, "VirtualService")["inference"]["spec"]
    host = "inference.isthmus-serving.svc.cluster.local"
    assert rule["host"] == route["http"][0]["route"][0]["destination"]["host"] == host
    assert rule["trafficPolicy"]["outlierDetection"]
    assert route["hosts"] == ["models.dev.example.org"]
    assert route["gateways"] == ["istio-ingress/models"]
    assert program.result.url == "https://models.dev.example.org"


def test_pods_are_those_that_the_fences_know(program):
    fences = policies(Networks.of(cloud_settings()))
    for site in SITES:
        labels = deployment(program, site)["spec"]["template"]["metadata"]["labels"]
        known = {
            policy["metadata"]["name"]
            for policy in fences
            if policy["metadata"]["namespace"] == "isthmus-serving"
            and policy["spec"]["podSelector"]
            and policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        }
        assert {f"from-entry-at-{site}", f"metrics-at-{site}"} <= known


def test_the_replicas_account_may_read_and_not_write(program):
    policy = program.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
    assert "s3:GetObject" in policy
    assert "s3:PutObject" not in policy


def test_keys_of_a_store_stay_secret_and_at_its_site(program):
    secret = program.named("inference-store-keys")
    assert "stringData" in secret.secrets
    assert "keys" in {volume["name"] for volume in pod(program, "os-1")["volumes"]}
    assert "keys" not in {volume["name"] for volume in pod(program, "aws-1")["volumes"]}


def test_a_recovery_serves_the_lost_platform_s_model_at_once():
    key = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
    program = served(restore_from="isthmus-prod-replica", **{"cloud.recovery.trusted_key": key})
    for site in SITES:
        fetch, serve = launches(program, site)
        assert fetch.run_id is None
        assert fetch.stores[1] == Store(address="s3://isthmus-prod-replica", profile="aws-1")
        assert [path.name for path in fetch.public_keys] == ["public.pem", "recovered.pem"]
        assert (serve.public_key, *serve.further_keys) == fetch.public_keys


def test_another_alias_or_run_is_a_rollout_of_pods_that_bring_their_specs(program):
    other = served(**{"registry.alias": "challenger"})
    templates = [deployment(each)["spec"]["template"] for each in (program, other)]
    assert [FetchLaunch.model_validate_json(told(each)["fetch.json"]).alias for each in templates] == [
        "champion",
        "challenger",
    ]
    # one of the former replicas that starts again while the new ones wait for their model finds all that it needs
    (specs,) = [volume for volume in templates[0]["spec"]["volumes"] if volume["name"] == "specs"]
    assert set(specs) == {"name", "downwardAPI"}


def test_a_language_model_is_served_whole_by_vllm_on_gpus(vllm):
    server = containers(pod(vllm))["server"]
    assert server["command"][:3] == ["vllm", "serve", "/work/model"]
    assert "--served-model-name=language" in server["command"]
    assert "--host=127.0.0.1" in server["command"]
    assert server["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert server["image"].startswith("registry.example.org/isthmus/vllm@sha256:")
    trigger = objects(vllm, "ScaledObject")["inference-os-1"]["spec"]["triggers"][0]["metadata"]
    assert "vllm:num_requests_running" in trigger["query"]


def test_where_vllm_tells_its_metrics_nothing_else_is_answered(vllm):
    listeners = {each["port"]["number"]: each for each in objects(vllm, "Sidecar")["inference"]["spec"]["ingress"]}
    assert listeners[8081]["defaultEndpoint"] == "127.0.0.1:8080"
    policy = objects(vllm, "AuthorizationPolicy")["inference-metrics-alone"]["spec"]
    assert policy["action"] == "DENY"
    assert policy["rules"] == [{"to": [{"operation": {"ports": ["8081"], "notPaths": ["/metrics", "/health"]}}]}]
