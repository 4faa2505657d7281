"""A container of OpenStack's object store, reached as a bucket by S3.

Swift keeps the versions of what comes in by S3 when the container has them on (Swift's guide, "Object Versioning":
the new mode is the one that its S3 interface uses), and has no rule that ends them. Ceph's gateway takes the container
by its Swift interface and gives the same bucket by S3, but does not know that header: versions and their end are set
by S3 there, with the keys just drawn (Ceph's guide, "S3 Bucket Operations" and "Swift: Object Versioning").

Drawing keys needs credentials of a user or an unrestricted application credential: Keystone refuses a restricted one.
"""

import pulumi
import pulumi_aws as aws
import pulumi_openstack as openstack

from infra.cloud_contracts import KeyContract, StoreContract
from infra.cloud_settings import OpenStackSettings, StorageSettings
from infra.scope import Scope
from infra.storage.aws_buckets import lifecycle
from infra.storage.vault import kept_secret


def container_store(
    scope: Scope, site: str, project: OpenStackSettings, values: StorageSettings, key: KeyContract
) -> StoreContract:
    """The container and keys that reach it.

    Copies of the keys are in Barbican, for whoever has only the project, and in Secrets Manager, for whoever has only
    the AWS account: what a site stores is not lost with the other cloud.
    """
    store, payload = container(scope, site, project, values)
    kept_secret(scope, f"{site}-artefacts", payload, key, values)
    if project.object_store.kind != "swift":
        _versions_by_s3(scope, f"{site}-artefacts", store, values)
    return store


def container(
    scope: Scope, site: str, project: OpenStackSettings, values: StorageSettings
) -> tuple[StoreContract, pulumi.Output[str]]:
    """What of it lies in the project, and the keys as JSON, for whoever is to have a copy."""
    name, place = f"{site}-artefacts", project.object_store
    made = openstack.objectstorage.Container(
        name,
        name=scope.naming.physical(name),
        versioning=True if place.kind == "swift" else None,
        force_destroy=values.erasable,
        metadata=scope.naming.tags(site=site),
        opts=scope.keeper(),
    )
    drawn = openstack.identity.Ec2CredentialV3(name, opts=scope.child())
    # the access key is as good as a user's name, so it is hidden as well
    access_key: pulumi.Output[str] = pulumi.Output.secret(drawn.access)
    pair = pulumi.Output.json_dumps({"access_key": access_key, "secret_key": drawn.secret})
    payload: pulumi.Output[str] = pulumi.Output.secret(pair)
    openstack.keymanager.SecretV1(
        name,
        name=scope.naming.physical(name),
        payload=payload,
        payload_content_type="text/plain",
        secret_type="opaque",  # noqa: S106 - Barbican's word for what it has no type for
        metadata=scope.naming.tags(site=site),
        opts=scope.child(),
    )
    store = StoreContract(
        site=site,
        bucket=made.name,
        url=pulumi.Output.concat("s3://", made.name),
        endpoint=place.endpoint,
        region=place.region,
        arn=None,
        key_arn=None,
        access_key=access_key,
        secret_key=drawn.secret,
        resource=made,
    )
    return store, payload


def _versions_by_s3(scope: Scope, name: str, store: StoreContract, values: StorageSettings) -> None:
    interface = aws.Provider(
        f"{name}-s3",
        region=store.region,
        access_key=store.access_key,
        secret_key=store.secret_key,
        endpoints=[aws.ProviderEndpointArgs(s3=store.endpoint)],
        s3_use_path_style=True,
        # no part of AWS but its protocol: there is no account, no region and no metadata service
        skip_credentials_validation=True,
        skip_metadata_api_check=True,
        skip_region_validation=True,
        skip_requesting_account_id=True,
        opts=scope.child(),
    )
    inside = scope.component("ObjectStoreInterface", f"{name}-s3", {"aws": interface})
    versioning = aws.s3.BucketVersioning(
        name,
        bucket=store.bucket,
        versioning_configuration=aws.s3.BucketVersioningVersioningConfigurationArgs(status="Enabled"),
        opts=inside.child(),
    )
    aws.s3.BucketLifecycleConfiguration(
        name,
        bucket=store.bucket,
        rules=lifecycle(values.noncurrent_days),
        opts=inside.child(versioning),  # older versions can only expire where there are any
    )
