"""Where each site keeps its artefacts: a bucket on AWS, a container on OpenStack, both by S3."""

from collections.abc import Mapping
from dataclasses import replace

import pulumi

from infra.access.buckets import Replica
from infra.cloud_contracts import AccountContract, KeyContract, StoreContract
from infra.scope import Scope
from infra.settings import Settings
from infra.storage.aws_buckets import Bucket, private_bucket, replication
from infra.storage.openstack_containers import container_store
from workloads.spec.errors import UserError


def stores(
    scope: Scope, settings: Settings, here: AccountContract, keyring: Mapping[str, KeyContract]
) -> Mapping[str, StoreContract]:
    """The stores by site. A recovery has stores of its own and reads the lost platform's replica beside them."""
    values = settings.of_cloud.storage
    aws_site, _ = settings.aws_site
    openstack_site, project = settings.openstack_site
    scope = scope.component("Artefacts", "artefacts")
    store = _bucket_store(scope, settings, here, keyring["artefacts"])
    return {
        aws_site.name: replace(store, restore_from=values.restore_from),
        openstack_site.name: container_store(scope, openstack_site.name, project, values, keyring["artefacts"]),
    }


def _bucket_store(scope: Scope, settings: Settings, here: AccountContract, key: KeyContract) -> StoreContract:
    values, (aws_site, aws) = settings.of_cloud.storage, settings.aws_site
    site = aws_site.name
    name = f"{site}-artefacts"
    made = private_bucket(scope, name, _physical(scope, here, name), key.arn, values, site, here.region)
    store = StoreContract(
        site=site,
        bucket=made.bucket.bucket,
        url=pulumi.Output.concat("s3://", made.bucket.bucket),
        endpoint=aws.endpoints.get("s3"),
        region=here.region,
        arn=made.bucket.arn,
        key_arn=key.arn,
        access_key=None,
        secret_key=None,
        resource=made.bucket,
    )
    if values.replica_region is None:
        return store
    copied = _replicated(scope, settings, here, key, (made, store))
    return replace(store, replica=copied.bucket.bucket)


def _replicated(
    scope: Scope, settings: Settings, here: AccountContract, key: KeyContract, source: tuple[Bucket, StoreContract]
) -> Bucket:
    values, (_, store) = settings.of_cloud.storage, source
    if values.replica_region is None or key.replica_arn is None:
        raise UserError(f"store of site {store.site} has no key in another region; set cloud.storage.replica_region")
    name = f"{store.site}-replica"
    made = private_bucket(
        scope, name, _physical(scope, here, name), key.replica_arn, values, store.site, values.replica_region
    )
    replica = Replica(made.bucket.arn, key.replica_arn, values.replica_region)
    replication(scope, f"{store.site}-replication", here, source, (made, replica))
    return made


def _physical(scope: Scope, here: AccountContract, name: str) -> pulumi.Output[str]:
    """The world shares one space of bucket names: the account's number sets this one's apart."""
    return here.account_id.apply(lambda account: scope.naming.physical(f"{name}-{account}"))
