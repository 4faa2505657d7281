"""What lies at an address, read where it lies. `fsspec` knows the protocols: folders, S3, Swift and Ceph by S3, and more."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from workloads.spec.disk import ensure_room
from workloads.spec.errors import UserError
from workloads.trainer.offline import stay_offline

SITE = "{site}"


def belongs_to_site(source: str) -> bool:
    """Whether each site has a source of its own, all of which is its own."""
    return SITE in source


def site_address(source: str, site: str) -> str:
    """The address that `site` reads."""
    return source.replace(SITE, site)


def is_address(source: str) -> bool:
    """Whether `source` is an address and not a name that comes with the product."""
    return "/" in source


def fetch(address: str, suffixes: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    """Files at or below `address` with one of `suffixes`: path below the address, and where the file can be read now.

    In order of their paths. Files of this machine are left where they are, others are copied below `folder`.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    wanted = " ".join(suffixes)
    try:
        found = _fetch(address, suffixes, folder)
    except UserError:
        raise
    except FileNotFoundError:
        found = []
    except Exception as error:  # noqa: BLE001 - every protocol's library has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{address}: cannot be read ({type(error).__name__}: {reason}); mend the address or who may read it"
        ) from None
    if not found:
        raise UserError(f"{address}: no {wanted} files are there; put data there, or mend the recipe's address")
    return found


def read_files(files: Sequence[tuple[str, Path]]) -> list[bytes]:
    """Contents of `files`. Raises `UserError` naming the first that cannot be read."""
    contents = []
    for _, path in files:
        try:
            contents.append(path.read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); mend or remove the file") from None
    return contents


def read_rows(files: Sequence[tuple[str, Path]], cache: Path) -> Any:
    """CSV, JSON-lines or Parquet files, all of one kind, as one `datasets.Dataset`, whose cache is below `cache`.

    Raises:
        UserError: the files are of several kinds, or cannot be read.
    """
    stay_offline()
    import datasets  # noqa: PLC0415 - slow, and only sharding of files needs it

    kinds = {path.suffix for _, path in files}
    if len(kinds) > 1:
        raise UserError(f"{files[0][1].parent}: files of several kinds ({' '.join(sorted(kinds))}); leave one of them")
    builder = _BUILDERS[kinds.pop()]
    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset(
            builder, data_files=[str(path) for _, path in files], split="train", cache_dir=str(cache)
        )
    except Exception as error:  # noqa: BLE001 - readers of each format have errors of their own
        cause = error.__cause__ or error
        raise UserError(
            f"{files[0][1].parent}: not readable as {builder} ({' '.join(str(cause).split())[:200]}); mend the files"
        ) from None


_BUILDERS = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
ROWS = tuple(_BUILDERS)  # suffixes of files that `read_rows` reads


def _fetch(address: str, suffixes: Sequence[str], folder: Path) -> list[tuple[str, Path]]:
    from fsspec.core import url_to_fs  # noqa: PLC0415 - sources that come with the product need it not
    from fsspec.implementations.local import LocalFileSystem  # noqa: PLC0415

    try:
        files, root = cast("tuple[Any, str]", url_to_fs(address))
    except (ValueError, ImportError) as error:
        raise UserError(f"{address}: {error}; use file://, s3:// or another protocol that is installed") from None
    details = cast("dict[str, dict[str, Any]]", files.find(root, detail=True))
    paths = sorted(path for path in details if path.endswith(tuple(suffixes)))
    named = [(path.removeprefix(root).lstrip("/") or path.rsplit("/", 1)[-1], path) for path in paths]
    if isinstance(files, LocalFileSystem):
        return [(name, Path(path)) for name, path in named]
    folder.mkdir(parents=True, exist_ok=True)
    ensure_room(folder, sum(int(details[path]["size"]) for path in paths), f"the copy of {address}")
    copies = []
    for name, path in named:
        copy = folder / name
        if not copy.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"{address}: {name!r} leads out of its folder; remove it")
        copy.parent.mkdir(parents=True, exist_ok=True)
        files.get_file(path, str(copy))
        copies.append((name, copy))
    return copies
