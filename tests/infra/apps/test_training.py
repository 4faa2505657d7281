"""A training run as Kubernetes gets it."""

import pytest

from infra.manifests import restricted
from tests.infra.apps.program import containers, environment, objects, pod_specs, trained
from tests.kit import cloud_fakes as fakes
from tests.kit.schemas import manifests_of, validate_all
from workloads.spec.delivery import CollectLaunch, PublishLaunch
from workloads.spec.errors import UserError
from workloads.spec.launch import CompressLaunch, LaunchSpec, RegisterLaunch
from workloads.spec.recipe import load_recipe

POOLS = (fakes.pool("aws-1", nodes=2, gpus=8, efa=4), fakes.pool("os-1", nodes=1, gpus=8))


@pytest.fixture(scope="module")
def program():
    return trained()


@pytest.fixture(scope="module")
def wide():
    """Two nodes with EFA at one site, where each part of the model has two replicas, and one node at the other."""
    return trained(load_recipe("language", {"train.inner.batch": 16}), POOLS)


def jobset(program):
    (manifest,) = objects(program, "JobSet").values()
    return manifest


def jobs(program):
    return {job["name"]: job["template"]["spec"] for job in jobset(program)["spec"]["replicatedJobs"]}


def trainer(program, site):
    return containers(jobs(program)[site]["template"]["spec"])["trainer"]


def files(program):
    return program.named("training-specs").inputs["data"]


def test_every_object_fits_the_schema(program, wide):
    assert validate_all(manifests_of(program)) == 8
    assert validate_all(manifests_of(wide)) == 8


def test_every_pod_is_restricted_and_has_no_token(program):
    pods = pod_specs(program)
    assert len(pods) == 3
    for pod in pods:
        assert restricted(pod) == pod
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsUser"] == 10001


def test_the_run_waits_in_the_queue_until_all_sites_have_room(program):
    manifest = jobset(program)
    labels = manifest["metadata"]["labels"]
    assert manifest["spec"]["suspend"] is True
    assert labels["kueue.x-k8s.io/queue-name"] == "training"
    assert labels["kueue.x-k8s.io/priority-class"] == "training"
    options = program.named("training-job")
    assert "spec.suspend" in options.ignore_changes


def test_the_job_is_named_by_the_run(program):
    run_id, job = program.result.run_id, program.result.job
    assert jobset(program)["metadata"]["name"] == job == f"train-{run_id.removeprefix('language-')[:8]}"


def test_one_job_a_site_has_a_pod_on_each_node(wide):
    assert list(jobs(wide)) == ["aws-1", "os-1"]
    for site, nodes in (("aws-1", 2), ("os-1", 1)):
        job = jobs(wide)[site]
        assert (job["completions"], job["parallelism"], job["completionMode"]) == (nodes, nodes, "Indexed")


def test_a_pod_goes_to_its_site_s_pool_and_tolerates_its_taint(program):
    pod = jobs(program)["os-1"]["template"]["spec"]
    assert pod["nodeSelector"] == {"isthmus.dev/site": "os-1", "isthmus.dev/pool": "l4"}
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Equal", "value": "present", "effect": "NoSchedule"}
    ]


def test_no_trainer_is_in_the_mesh_and_fences_know_it_by_site(program):
    templates = [job["template"] for job in jobs(program).values()]
    templates.append(next(iter(objects(program, "Job").values()))["spec"]["template"])
    for template in templates:
        metadata = template["metadata"]
        assert metadata["annotations"]["sidecar.istio.io/inject"] == "false"
        assert metadata["labels"]["sidecar.istio.io/inject"] == "false"
        assert metadata["labels"]["app.kubernetes.io/name"] == "trainer"
        assert metadata["labels"]["isthmus.dev/site"] in {"aws-1", "os-1"}


def test_workers_are_started_by_torchrun_with_the_ranks_that_peers_address(wide):
    arguments = trainer(wide, "aws-1")["args"]
    launch = LaunchSpec.model_validate_json(files(wide)["launch.json"])
    site = launch.site("aws-1")
    assert arguments[:3] == ["torch.distributed.run", "--nnodes=2", "--nproc-per-node=8"]
    assert "--node-rank=$(JOB_COMPLETION_INDEX)" in arguments
    assert f"--master-addr={site.rendezvous.host}" in arguments
    assert f"--master-port={site.rendezvous.port}" in arguments
    assert arguments[-4:] == ["-m", "workloads.trainer", "/etc/isthmus/specs/launch.json", "--site=aws-1"]
    assert site.workers == 16
    assert "--master-addr=127.0.0.1" in trainer(wide, "os-1")["args"]


def test_where_there_is_efa_nccl_uses_it_or_fails(wide):
    known = environment(trainer(wide, "aws-1"))
    assert known["NCCL_NET"] == "AWS Libfabric"
    assert known["NCCL_NET_PLUGIN"] == "ofi"
    assert known["FI_PROVIDER"] == "efa"
    assert not {"FI_EFA_FORK_SAFE", "FI_EFA_USE_HUGE_PAGE"} & set(known), "together they end the process"
    asked = trainer(wide, "aws-1")["resources"]
    for bound in (asked["requests"], asked["limits"]):
        assert bound["vpc.amazonaws.com/efa"] == "4"
        assert bound["nvidia.com/gpu"] == "8"
        assert bound["hugepages-2Mi"] == "5120Mi"
    other = trainer(wide, "os-1")
    assert "NCCL_NET" not in environment(other)
    assert not {"vpc.amazonaws.com/efa", "hugepages-2Mi"} & set(other["resources"]["requests"])


def test_where_there_is_efa_the_image_has_its_user_space_and_elsewhere_not(wide):
    images = {
        site: {step["image"] for step in containers(job["template"]["spec"]).values()}
        for site, job in jobs(wide).items()
    }
    assert [name.partition("@")[0] for name in sorted(images["aws-1"])] == ["registry.example.org/isthmus/trainer-efa"]
    assert [name.partition("@")[0] for name in sorted(images["os-1"])] == ["registry.example.org/isthmus/trainer"]


def test_a_site_of_one_pod_is_started_again_alone_and_one_of_several_with_all(wide):
    alone, together = jobs(wide)["os-1"], jobs(wide)["aws-1"]
    assert alone["backoffLimit"] > 0
    assert together["backoffLimit"] == 0
    disruption = [job["podFailurePolicy"]["rules"][1] for job in (alone, together)]
    assert [rule["action"] for rule in disruption] == ["Ignore", "FailJob"]


def test_a_mistake_ends_the_run_and_pods_that_were_taken_away_do_not_count(program):
    policy = jobset(program)["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 3
    assert [rule["action"] for rule in policy["rules"]] == ["FailJobSet", "RestartJobSetAndIgnoreMaxRestarts"]
    for job in jobs(program).values():
        assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]


def test_nothing_in_the_jobset_starts_after_the_trainers(program):
    """Kueue calls a JobSet ready when all its jobs are, and evicts one that is not in time."""
    assert all("dependsOn" not in job for job in jobset(program)["spec"]["replicatedJobs"])


def test_pods_are_kept_together_where_the_queue_says_so():
    queue = fakes.queues()
    level = "topology.kubernetes.io/zone"
    program = trained(queue=type(queue)(**{**vars(queue), "topology": {"aws-1": level}}))
    annotations = {site: job["template"]["metadata"]["annotations"] for site, job in jobs(program).items()}
    assert annotations["aws-1"]["kueue.x-k8s.io/podset-required-topology"] == level
    assert "kueue.x-k8s.io/podset-required-topology" not in annotations["os-1"]


def test_each_site_has_an_identity_that_its_peers_check(program):
    for site in ("aws-1", "os-1"):
        certificate = objects(program, "Certificate")[f"{site}-tls"]["spec"]
        assert certificate["dnsNames"] == [site]
        assert certificate["issuerRef"]["name"] == "isthmus-sites"
        assert set(certificate["usages"]) == {"server auth", "client auth"}
        pod = jobs(program)[site]["template"]["spec"]
        (tls,) = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "tls"]
        assert tls["secretName"] == certificate["secretName"]


def test_keys_of_a_store_go_to_the_pods_that_need_them_and_stay_secret(program):
    secret = program.named("training-store-keys")
    assert "stringData" in secret.secrets
    volumes = {site: {v["name"] for v in job["template"]["spec"]["volumes"]} for site, job in jobs(program).items()}
    assert "keys" in volumes["os-1"]
    assert "keys" not in volumes["aws-1"]
    assert "EC2ACCESS" not in str([r.inputs for r in program.resources if r.name != secret.name])


def test_each_pod_s_store_is_its_site_s_where_nothing_else_is_said(program):
    assert environment(trainer(program, "os-1"))["AWS_PROFILE"] == "os-1"
    assert environment(trainer(program, "aws-1"))["AWS_PROFILE"] == "aws-1"


def test_a_store_s_profile_says_where_it_is():
    text = trained().named("training-store-profiles").inputs["data"]["config"]
    assert "[profile aws-1]\nregion = eu-central-1\n[profile os-1]" in text
    assert "services = os-1" in text
    assert "endpoint_url = https://object-store.example.org" in text
    assert text.count("when_required") == 2


def test_specs_are_immutable_and_named_by_their_content(program):
    config = program.named("training-specs").inputs
    other = trained(load_recipe("language", {"serve.max_batch": 2})).named("training-specs").inputs
    assert config["immutable"] is True
    assert config["metadata"]["name"] != other["metadata"]["name"]
    for pod in pod_specs(program):
        (mounted,) = [volume["configMap"]["name"] for volume in pod["volumes"] if volume["name"] == "specs"]
        assert mounted == config["metadata"]["name"]


def test_the_run_is_closed_by_steps_that_each_parse_what_the_program_renders(program):
    given = files(program)
    collect = CollectLaunch.model_validate_json(given["collect.json"])
    compress = CompressLaunch.model_validate_json(given["compress.json"])
    register = RegisterLaunch.model_validate_json(given["register.json"])
    publish = PublishLaunch.model_validate_json(given["publish.json"])
    launch = LaunchSpec.model_validate_json(given["launch.json"])
    assert (collect.store, collect.run_id, collect.poll_s) == (launch.shared, launch.run_id, 30.0)
    assert compress.model == register.trained == collect.folder / "trained"
    assert register.model == publish.model == compress.output / "model"
    assert publish.registered == register.output / "result.json"
    assert {site: store.profile for site, store in publish.stores.items()} == {"aws-1": "aws-1", "os-1": "os-1"}
    assert (register.registry, register.alias, publish.alias) == (launch.tracking, "champion", "champion")


def test_the_closing_waits_beside_the_shared_store_and_only_its_last_steps_see_the_key(program):
    (manifest,) = objects(program, "Job").values()
    pod = manifest["spec"]["template"]["spec"]
    assert [step["name"] for step in pod["initContainers"]] == [
        "collect",
        "data-aws-1",
        "data-os-1",
        "compress",
        "register",
    ]
    assert [step["name"] for step in pod["containers"]] == ["publish"]
    signing = {name for name, step in containers(pod).items() if "signing" in {m["name"] for m in step["volumeMounts"]}}
    assert signing == {"register", "publish"}
    assert manifest["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}
    assert "kueue.x-k8s.io/queue-name" not in manifest["metadata"]["labels"]
    assert "nvidia.com/gpu" not in str(pod)
    assert "hybrid" in str(pod["affinity"])


def test_data_of_a_site_s_own_does_not_leave_it_to_be_judged_on():
    own = load_recipe("language", {"data.source": "s3://texts/{site}"})
    program = trained(own)
    assert set(CompressLaunch.model_validate_json(files(program)["compress.json"]).shards) == {"aws-1"}
    (manifest,) = objects(program, "Job").values()
    steps = containers(manifest["spec"]["template"]["spec"])
    assert "data-os-1" not in steps


def test_a_service_of_whole_models_gets_the_trained_one():
    changes = {"cloud.serving.runtime": "vllm", "cloud.serving.gpus": 1}
    pools = (fakes.pool("aws-1", nodes=2), fakes.pool("os-1", nodes=2))
    publish = PublishLaunch.model_validate_json(files(trained(pools=pools, **changes))["publish.json"])
    assert str(publish.model) == "/work/run/trained"


def test_the_trainers_account_may_write_the_shared_store_and_nothing_else(program):
    role = program.one("aws:iam/role:Role")
    policy = program.one("aws:iam/rolePolicy:RolePolicy")
    identity = program.one("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert (identity.inputs["namespace"], identity.inputs["serviceAccount"]) == ("isthmus-training", "trainer")
    assert "isthmus-dev-aws-1" in policy.inputs["policy"]
    assert role.name == "trainer"


def test_a_mistake_in_the_recipe_is_told_before_anything_is_declared():
    with pytest.raises(UserError, match=r"site aws-1 has 16 workers and train\.layout \(dp 2\) needs 2"):
        trained(load_recipe("language", {"train.inner.batch": 7, "train.layout": {"replicas": 2}}), POOLS)
