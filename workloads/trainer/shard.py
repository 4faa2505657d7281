"""`python -m workloads.trainer.shard SPEC.json`: make one site's part of the data.

Of a source that all sites see, every site computes the same deal from the recipe alone and keeps its own part; of an
address of its own a site keeps all. So data never travels to be split. For the standard library this needs the same
Python version at every site.
"""

import argparse
import errno
import shutil
from pathlib import Path

from workloads.spec.artifact import MANIFEST
from workloads.spec.base import file_digest
from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import ShardLaunch, ShardManifest
from workloads.trainer.shard_parts import Counts, write_data


def make_shard(launch: ShardLaunch) -> ShardManifest:
    """Write the shard of `launch.site` to `launch.folder`, its manifest last.

    Raises:
        UserError: the site is unknown or would get no data, its source cannot be read, or the disk is full.
    """
    if launch.site not in launch.sites:
        raise UserError(f"site {launch.site!r} is not one of {', '.join(launch.sites)}; add it to the sites")
    launch.folder.mkdir(parents=True, exist_ok=True)
    making = launch.folder / ".making"
    shutil.rmtree(making, ignore_errors=True)
    parts, copies = making / "parts", making / "copies"
    parts.mkdir(parents=True)
    copies.mkdir()
    try:
        counts = write_data(launch, parts, copies)
        return _publish(launch, parts, counts)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(f"{launch.folder}: the disk is full; make room and run `make up` again") from None
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _publish(launch: ShardLaunch, parts: Path, counts: Counts) -> ShardManifest:
    manifest = ShardManifest(
        site=launch.site,
        samples=counts.samples["train"],
        held_out_samples=counts.samples["held_out"],
        class_counts=counts.classes,
        files={path.name: file_digest(path) for path in sorted(parts.iterdir())},
    )
    (launch.folder / MANIFEST).unlink(missing_ok=True)  # half of the new files beside it must not look whole
    for path in parts.iterdir():
        path.replace(launch.folder / path.name)
    manifest.save(launch.folder / MANIFEST)
    return manifest


def main() -> None:
    """Parse the command line and make the shard."""
    parser = argparse.ArgumentParser(prog="python -m workloads.trainer.shard", description="Make one site's data.")
    parser.add_argument("spec", type=Path, help="ShardLaunch as JSON")
    manifest = make_shard(ShardLaunch.load(parser.parse_args().spec))
    print(  # noqa: T201 - the interface of a command
        f"{manifest.site}: {manifest.samples} samples, {manifest.held_out_samples} held out", flush=True
    )


if __name__ == "__main__":
    run_command(main)
