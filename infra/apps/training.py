"""A training run over all sites: planned from what the stack knows of them, and submitted to the queue."""

from collections.abc import Mapping, Sequence

import pulumi

from infra.access import grants
from infra.access.signing import PRIVATE
from infra.apps import closing, pods
from infra.apps.launching import Launching, plan_training, render_launch
from infra.apps.training_job import ACCOUNT, LAUNCH, Surroundings, certificate, jobset
from infra.cloud_contracts import (
    CertificatesContract,
    CloudLinkContract,
    CloudRegistryContract,
    ClusterContract,
    ImagesContract,
    PoolContract,
    QueuesContract,
    SigningContract,
    StoreContract,
    TrainingContract,
)
from infra.local.launch import digest_of
from infra.manifests import Custom, apply, labelled
from infra.mesh.fencing import TRAINING
from infra.scope import Scope
from infra.settings import Settings
from workloads.spec.launch import LinkFacts
from workloads.spec.recipe import Recipe

_DIGEST_LENGTH = 12  # of what names a ConfigMap


def train(
    inside: Scope,
    settings: Settings,
    recipe: Recipe,
    pools: Sequence[PoolContract],
    queue: QueuesContract,
    link: CloudLinkContract,
    stores: Mapping[str, StoreContract],
    cluster: ClusterContract,
    pictures: ImagesContract,
    issuers: CertificatesContract,
    models: CloudRegistryContract,
    signer: SigningContract,
) -> TrainingContract:
    """One run over all sites, and the job that closes it. A run that is finished already ends at once.

    Raises:
        UserError: the recipe does not fit the sites, or a site has nothing to train on.
    """
    scope = inside.component("Training", "training")
    names = [site.name for site in settings.sites]
    facts = LinkFacts(rate_mbps=link.rate_mbps, rtt_ms=link.rtt_ms)
    run = plan_training(recipe, names, pools, facts, settings.of_cloud.serving)
    shared = next(name for name in names if stores[name].arn is not None)  # all pods reach it by their identity
    around = Surroundings(pictures, queue, stores, shared)
    how = closing.Closing(
        registry=models.url,
        alias=settings.registry.alias,
        signing_secret=signer.private_secret,
        signing_entry=PRIVATE,
        serves_whole=settings.of_cloud.serving.runtime == "vllm",
    )
    files = _files(run, how, shared, [stores[name] for name in names])
    config = files.apply(
        lambda known: f"{run.job}-{digest_of(*(text for pair in known.items() for text in pair))[:_DIGEST_LENGTH]}"
    )

    ready = _identity(scope, cluster, stores[shared], queue)
    ready += [
        apply(scope, f"training-{manifest['metadata']['name']}", manifest, *queue.ready)
        for manifest in pods.store_objects(TRAINING, list(stores.values()))
    ]
    ready += [
        apply(scope, f"{site}-certificate", certificate(site, issuers.sites), *issuers.ready, *queue.ready)
        for site in run.parts
    ]
    specs = pods.spec_files(TRAINING, config, files)
    ready.append(apply(scope, "training-specs", specs, *queue.ready))
    # a pod that starts before these would fail, and no value of theirs is in its spec
    after = (*ready, *queue.ready, *signer.ready, *models.ready, *_nodes(run))
    submitted = _submit(scope, jobset(run, around, config), after)
    closed = apply(scope, "training-finish", closing.job(run, around, how, config), *ready, *signer.ready)
    return TrainingContract(
        run_id=run.run_id,
        plan=run.plan.model_dump(mode="json"),
        sites={site: part.facts.model_dump(mode="json") for site, part in run.parts.items()},
        job=run.job,
        ready=(submitted, closed),
    )


def _files(
    run: Launching, how: closing.Closing, shared: str, stores: Sequence[StoreContract]
) -> pulumi.Output[dict[str, str]]:
    """The specs as text, by file: known once the stores are."""

    def render(urls: list[str]) -> dict[str, str]:
        addresses = dict(zip((store.site for store in stores), urls, strict=True))
        opened = {site: pods.store_of(site, address) for site, address in addresses.items()}
        launch = render_launch(run, addresses, opened[shared], how.registry)
        specs = {LAUNCH: launch, **closing.specs(run, how, opened[shared], opened)}
        return {name: spec.model_dump_json(indent=1) for name, spec in specs.items()}

    return pulumi.Output.all(*(store.url for store in stores)).apply(render)


def _nodes(run: Launching) -> list[pulumi.Resource]:
    return [resource for part in run.parts.values() for resource in part.pool.ready]


def _identity(
    scope: Scope, cluster: ClusterContract, shared: StoreContract, queue: QueuesContract
) -> list[pulumi.Resource]:
    """The trainers' account, which may read and write the shared store and nothing else."""
    account = apply(scope, "trainer-account", pods.service_account(ACCOUNT, TRAINING), *queue.ready)
    role = grants.service_role(scope, ACCOUNT, grants.Trust.pod(TRAINING, ACCOUNT))
    allowed = grants.write_bucket(scope, "trainer-store", role, shared)
    known = grants.pod_identity(scope, "trainer-identity", cluster, TRAINING, ACCOUNT, role)
    return [account, allowed, known]


def _submit(scope: Scope, manifest: Mapping[str, object], after: Sequence[pulumi.Resource]) -> pulumi.Resource:
    """The JobSet. What changes in it is another one, in its place: nearly all of a JobSet is immutable.

    Whether it is suspended is the queue's to say.
    """
    opts = scope.child(*after)
    opts.replace_on_changes = ["spec"]
    opts.delete_before_replace = True
    opts.ignore_changes = ["spec.suspend"]
    return Custom("training-job", labelled(manifest), opts)
