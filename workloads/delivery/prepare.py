"""A site's data, made where it is trained on."""

import sys
from pathlib import Path

from workloads.spec.artifact import MANIFEST
from workloads.spec.errors import UserError
from workloads.spec.launch import LaunchSpec, ShardLaunch, ShardManifest
from workloads.trainer.shard_files import verify_shard


def prepare(launch: LaunchSpec, site: str, folder: Path | None = None) -> ShardManifest:
    """The shard of `site` in its data folder, or in `folder`; one that is there and whole is left as it is.

    Raises:
        UserError: the site has no part in the run, or its data cannot be made or is not what the run was launched for.
    """
    names = tuple(each.name for each in launch.sites)
    if site not in names:
        raise UserError(f"--site {site!r} is not in the run; choose one of {', '.join(names)}")
    target, digest = folder or launch.site(site).data, launch.site(site).data_digest
    if (target / MANIFEST).exists():
        try:
            return verify_shard(target, digest)
        except UserError as error:  # an attempt that was cut off, or files that were changed
            sys.stderr.write(f"note: {error}; it is made again\n")
    from workloads.trainer.shard import make_shard  # noqa: PLC0415 - its readers take seconds to import

    make_shard(ShardLaunch(recipe=launch.recipe, site=site, sites=names, folder=target))
    return verify_shard(target, digest)
