"""`python -m workloads.trainer.shard SPEC.json`: make one site's part of the data.

Every site computes the same deal from the recipe alone and keeps its own part, so data never travels to be split. For
the standard library this needs the same Python version at every site.
"""

import argparse
import errno
import json
import shutil
from pathlib import Path

import numpy as np

from workloads.spec.artifact import MANIFEST
from workloads.spec.base import file_digest
from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError, run_command
from workloads.spec.launch import ShardLaunch, ShardManifest
from workloads.spec.recipe import TableData, TextData
from workloads.trainer.shard_files import DOCUMENTS, LABELS, Arrays, Part, write_part
from workloads.trainer.tables import deal_table, load_iris_table
from workloads.trainer.texts import deal_text, find_packages, standard_library


def make_shard(launch: ShardLaunch) -> ShardManifest:
    """Write the shard of `launch.site` to `launch.folder`, its manifest last.

    Raises:
        UserError: the site is unknown or would get no data, or the disk is full.
    """
    if launch.site not in launch.sites:
        raise UserError(f"site {launch.site!r} is not one of {', '.join(launch.sites)}; add it to the sites")
    launch.folder.mkdir(parents=True, exist_ok=True)
    scratch = launch.folder / ".making"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        counts = _write_data(launch, scratch)
        return _publish(launch, scratch, counts)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise UserError(f"{launch.folder}: the disk is full; make room and run `make up` again") from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write_data(launch: ShardLaunch, folder: Path) -> dict[Part, int]:
    """Samples of each part: rows, or bytes of text."""
    match launch.recipe.data:
        case TableData() as data:
            return _write_table(launch, data, folder)
        case TextData() as data:
            return _write_text(launch, data, folder)


def _publish(launch: ShardLaunch, scratch: Path, counts: dict[Part, int]) -> ShardManifest:
    manifest = ShardManifest(
        site=launch.site,
        samples=counts["train"],
        held_out_samples=counts["held_out"],
        files={path.name: file_digest(path) for path in sorted(scratch.iterdir())},
    )
    (launch.folder / MANIFEST).unlink(missing_ok=True)  # half of the new files beside it must not look whole
    for path in scratch.iterdir():
        path.replace(launch.folder / path.name)
    manifest.save(launch.folder / MANIFEST)
    return manifest


def _write_table(launch: ShardLaunch, data: TableData, folder: Path) -> dict[Part, int]:
    table = load_iris_table()
    share = deal_table(data, table.labels, len(launch.sites))[launch.sites.index(launch.site)]
    ensure_room(folder, table.features.nbytes, f"the data of {launch.site}")
    parts: dict[Part, Arrays] = {
        "train": {"row": share.train, "subset": share.subset},
        "held_out": {"row": share.held_out},
    }
    for part, arrays in parts.items():
        rows = arrays["row"]
        write_part(folder, part, {**arrays, "features": table.features[rows], "labels": table.labels[rows]})
    labels = {"features": table.feature_names, "classes": table.class_names}
    (folder / LABELS).write_text(json.dumps(labels, indent=2) + "\n", encoding="utf-8")
    return {"train": len(share.train), "held_out": len(share.held_out)}


def _write_text(launch: ShardLaunch, data: TextData, folder: Path) -> dict[Part, int]:
    library = standard_library()
    packages = find_packages(library)
    share = deal_text(data, packages, launch.sites)[launch.site]
    ensure_room(folder, data.max_bytes_per_site, f"the data of {launch.site}")
    parts: dict[Part, list[str]] = {"train": share.train, "held_out": share.held_out}
    counts: dict[Part, int] = {}
    for part, documents in parts.items():
        arrays = _read_documents(library, documents)
        write_part(folder, part, arrays)
        counts[part] = len(arrays["text"])
    (folder / DOCUMENTS).write_text(json.dumps(parts, indent=2) + "\n", encoding="utf-8")
    return counts


def _read_documents(library: Path, documents: list[str]) -> Arrays:
    contents = [(library / document).read_bytes() for document in documents]
    boundaries = np.cumsum([0, *(len(content) for content in contents)], dtype=np.int64)
    return {"text": np.frombuffer(b"".join(contents), dtype=np.uint8), "boundaries": boundaries}


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
