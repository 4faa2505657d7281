import functools
import hashlib
import tarfile

import pytest

from infra.toolchain import release
from infra.toolchain.engine import ensure_engine
from infra.toolchain.release import UnavailableError, archive_name, install
from infra.toolchain.version import ENGINE_VERSION
from tests.infra.toolchain.conftest import pulumi, served
from workloads.spec.errors import UserError

NAME = archive_name(ENGINE_VERSION)


@pytest.fixture
def published(tmp_path):
    """A release as it is published: the archive for this machine and the checksums of all."""
    folder = tmp_path / "published"
    pulumi(folder / "pulumi", f"v{ENGINE_VERSION}")
    with tarfile.open(folder / NAME, "w:gz") as archive:
        archive.add(folder / "pulumi", "pulumi")
    digest = hashlib.sha256((folder / NAME).read_bytes()).hexdigest()
    checksums(folder).write_text(f"{'0' * 64}  pulumi-v{ENGINE_VERSION}-plan9-x64.tar.gz\n{digest}  {NAME}\n")
    return folder


def checksums(folder):
    return folder / f"pulumi-{ENGINE_VERSION}-checksums.txt"


@pytest.mark.parametrize(
    ("system", "machine", "suffix"),
    [("linux", "x86_64", "linux-x64"), ("linux", "aarch64", "linux-arm64"), ("darwin", "arm64", "darwin-arm64")],
)
def test_each_machine_has_its_archive(system, machine, suffix):
    assert archive_name(ENGINE_VERSION, system, machine) == f"pulumi-v{ENGINE_VERSION}-{suffix}.tar.gz"


@pytest.mark.parametrize(("system", "machine"), [("linux", "riscv64"), ("sunos", "x86_64")])
def test_a_machine_without_a_release_is_told_apart(system, machine):
    with pytest.raises(UnavailableError, match=f"{system} on {machine}"):
        archive_name(ENGINE_VERSION, system, machine)


def test_the_official_release_becomes_the_projects_engine(tmp_path, published, console):
    with served(published) as address:
        engine = ensure_engine(tmp_path / "state", console, (functools.partial(install, sources=[address]),))
    assert engine.path == tmp_path / "state/pulumi/bin/pulumi"
    assert (engine.path.parent / "pulumi-language-python").is_file()
    assert f"fetching Pulumi {ENGINE_VERSION}: done" in console.file.getvalue()


def test_an_archive_that_is_not_the_one_published_is_refused_and_no_other_way_is_taken(tmp_path, published, console):
    with (published / NAME).open("ab") as archive:
        archive.write(b"one byte more")
    with served(published) as address, pytest.raises(UserError) as refusal:
        ensure_engine(tmp_path, console, (functools.partial(install, sources=[address, address]), pytest.fail))
    assert "SHA-256" in str(refusal.value)
    assert "was not installed" in str(refusal.value)
    assert sorted(path.name for path in (tmp_path / "pulumi").iterdir()) == ["install.lock"]


def test_the_next_source_is_asked_when_one_does_not_have_the_release(tmp_path, published, console):
    (tmp_path / "empty").mkdir()
    with served(tmp_path / "empty") as empty, served(published) as address:
        install(ENGINE_VERSION, tmp_path / "bin", console, [empty, address])
    assert (tmp_path / "bin/pulumi").is_file()


def test_when_no_source_has_it_each_is_named_with_its_reason(tmp_path, published, console):
    checksums(published).write_text("")
    (tmp_path / "empty").mkdir()
    closed = "http://127.0.0.1:9"
    with served(published) as silent, served(tmp_path / "empty") as empty, pytest.raises(UnavailableError) as failure:
        install(ENGINE_VERSION, tmp_path / "bin", console, [closed, empty, silent])
    reasons = str(failure.value).split("; ")
    assert reasons[0] == f"{closed}: Connection refused"
    assert reasons[1].startswith(f"{empty}: HTTP 404")
    assert reasons[2] == f"{silent}: the release's checksums do not name {NAME}"
    assert not (tmp_path / "bin").exists()


def test_the_official_sources_are_asked_over_tls():
    assert all(source.startswith("https://") for source in release.SOURCES)
