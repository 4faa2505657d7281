"""The model registry: one server on a database that outlives it and is backed up."""

import pytest

from infra.manifests import restricted
from infra.mesh.fencing import Networks, policies
from tests.infra.apps.program import containers, environment, objects, pod_specs, registered
from tests.kit.cloud import cloud_settings
from tests.kit.schemas import manifests_of, validate_all
from workloads.spec.delivery import BackupLaunch, Store


@pytest.fixture(scope="module")
def program():
    return registered()


def server(program):
    return objects(program, "Deployment")["registry"]["spec"]


def database(program):
    return objects(program, "StatefulSet")["database"]["spec"]


def backup(program):
    return BackupLaunch.model_validate_json(program.named("registry-specs").inputs["data"]["backup.json"])


def test_every_object_fits_the_schema(program):
    assert validate_all(manifests_of(program)) == 12


def test_every_pod_is_restricted_and_near_the_control_plane(program):
    pods = pod_specs(program)
    assert len(pods) == 3
    for pod in pods:
        assert restricted(pod) == pod
        assert pod["automountServiceAccountToken"] is False
        assert "hybrid" in str(pod["affinity"])


def test_one_server_at_a_time_changes_the_schema(program):
    assert (server(program)["replicas"], server(program)["strategy"]) == (1, {"type": "Recreate"})


def test_the_server_is_what_the_local_stack_runs_on_other_places(program):
    container = containers(server(program)["template"]["spec"])["server"]
    assert container["args"] == [
        "workloads.registry.server",
        "--port=5000",
        "--artifacts=s3://isthmus-dev-aws-1/registry",
    ]
    known = environment(container)
    assert known["MLFLOW_BACKEND_STORE_URI"] == "postgresql+psycopg2://mlflow:$(DATABASE_PASSWORD)@database:5432/mlflow"
    assert "registry.isthmus-registry.svc:5000" in known["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert program.result.url == "http://registry.isthmus-registry.svc:5000"


def test_what_reaches_the_server_has_passed_its_proxy(program):
    (listener,) = objects(program, "Sidecar")["registry"]["spec"]["ingress"]
    assert listener["defaultEndpoint"] == "127.0.0.1:5000"
    probes = [
        containers(server(program)["template"]["spec"])["server"][f"{kind}Probe"] for kind in ("startup", "liveness")
    ]
    assert all("exec" in probe for probe in probes)


def test_the_password_is_drawn_and_stands_in_a_secret_alone(program):
    assert program.one("isthmus:keys:DrawnSecret")
    secret = program.named("registry-database-password")
    assert "stringData" in secret.secrets
    assert "drawn-secret" not in str([r.inputs for r in program.resources if r.name != secret.name])
    for name, of in (("server", server(program)), ("postgres", database(program))):
        references = [each for each in containers(of["template"]["spec"])[name]["env"] if "valueFrom" in each]
        assert references[0]["valueFrom"]["secretKeyRef"] == {"name": "registry-database", "key": "password"}


def test_a_password_that_is_given_is_taken():
    program = registered(**{"cloud.database_password": "correct-horse-battery-staple"})
    assert not program.of_type("isthmus:keys:DrawnSecret")
    assert program.named("registry-database-password").inputs["stringData"] == {
        "password": "correct-horse-battery-staple"
    }


def test_the_database_is_on_an_encrypted_volume(program):
    made = objects(program, "StorageClass")["isthmus-encrypted"]
    assert made["parameters"]["encrypted"] == "true"
    (claim,) = database(program)["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "isthmus-encrypted"


def test_a_cluster_s_own_storage_class_is_used_where_it_is_named():
    program = registered(**{"cloud.cluster.storage_class": "standard"})
    assert not objects(program, "StorageClass")
    (claim,) = database(program)["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"] == "standard"


@pytest.mark.parametrize("protect", [True, False])
def test_state_is_kept_where_the_stack_protects_it(protect):
    program = registered(**{"cloud.protect": protect})
    assert objects(program, "StorageClass")["isthmus-encrypted"]["reclaimPolicy"] == ("Retain" if protect else "Delete")
    assert bool(program.named("database").protect) is protect
    assert bool(program.one("isthmus:keys:DrawnSecret").protect) is protect


def test_an_empty_database_takes_the_newest_backup_before_the_server_starts(program):
    pod = server(program)["template"]["spec"]
    assert [step["name"] for step in pod["initContainers"]] == ["recall", "restore"]
    script = containers(pod)["restore"]["command"][-1]
    dump = str(backup(program).file)
    assert f"test -f {dump} || exit 0" in script
    assert 'test "$tables" = 0 || exit 0' in script
    assert script.endswith(f"--single-transaction {dump}")


def test_a_backup_is_made_every_night(program):
    spec = objects(program, "CronJob")["registry-backup"]["spec"]
    steps = containers(spec["jobTemplate"]["spec"]["template"]["spec"])
    assert steps["dump"]["command"] == ["pg_dump", "--format=custom", f"--file={backup(program).file}"]
    assert steps["keep"]["args"][:2] == ["workloads.delivery", "keep"]
    assert spec["concurrencyPolicy"] == "Forbid"


def test_a_recovery_falls_back_on_the_lost_platform_s_replica():
    launch = backup(registered(restore_from="isthmus-prod-replica"))
    assert launch.stores == (
        Store(address="s3://isthmus-dev-aws-1", profile="aws-1"),
        Store(address="s3://isthmus-prod-replica", profile="aws-1"),
    )


def test_a_backup_is_not_asked_by_the_registry_s_clients(program):
    selector = objects(program, "Service")["registry"]["spec"]["selector"]
    labels = objects(program, "CronJob")["registry-backup"]["spec"]["jobTemplate"]["spec"]["template"]["metadata"][
        "labels"
    ]
    assert not selector.items() <= labels.items()
    assert selector.items() <= server(program)["template"]["metadata"]["labels"].items()


def test_pods_are_those_that_the_fences_know(program):
    """Network policies select by application and site: a pod that none of them knows reaches nothing."""
    fences = [
        policy
        for policy in policies(Networks.of(cloud_settings()))
        if policy["metadata"]["namespace"] == "isthmus-registry"
    ]
    for of, expected in ((server(program), {"clients-at-aws-1", "to-database"}), (database(program), {"database"})):
        labels = of["template"]["metadata"]["labels"]
        known = {
            policy["metadata"]["name"]
            for policy in fences
            if policy["spec"]["podSelector"] and policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        }
        assert expected <= known


def test_the_registry_s_account_may_write_its_store(program):
    identity = program.one("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    assert (identity.inputs["namespace"], identity.inputs["serviceAccount"]) == ("isthmus-registry", "registry")
    assert "s3:PutObject" in program.one("aws:iam/rolePolicy:RolePolicy").inputs["policy"]
