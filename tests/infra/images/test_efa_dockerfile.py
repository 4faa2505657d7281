"""The trainer for nodes with EFA: the trainer, and AWS's user space at one version by its hash."""

import re

import pytest

from infra.apps.pods import USER
from infra.images.sources import TRAINER_EFA, context_files, dockerfile, source_tag
from infra.settings import ROOT
from tests.kit.dockerfiles import parse


@pytest.fixture
def parsed():
    return parse((ROOT / dockerfile(TRAINER_EFA)).read_text(encoding="utf-8"))


@pytest.fixture
def install(parsed):
    (run,) = parsed.final.all("RUN")
    return re.sub(r"\s+", " ", run.rest)


def test_it_stands_on_a_trainer_that_has_to_be_named(parsed):
    assert parsed.arguments == {"BASE": ""}
    assert [stage.base for stage in parsed.stages] == ["scratch", "${BASE}"]


def test_one_version_is_fetched_and_only_with_the_hash_that_is_known_of_it(parsed):
    installer = parsed.stages[0]
    arguments = dict(argument.rest.split("=", 1) for argument in installer.all("ARG"))
    assert re.fullmatch(r"\d+\.\d+\.\d+", arguments["EFA_VERSION"])
    # the installer knows Debian 13, which the trainer stands on, from 1.46.0, and brings the plugin from 1.40.0
    assert tuple(map(int, arguments["EFA_VERSION"].split("."))) >= (1, 46, 0)
    assert re.fullmatch(r"[0-9a-f]{64}", arguments["EFA_SHA256"])
    (fetched,) = installer.all("ADD")
    assert fetched.words[0] == "--checksum=sha256:${EFA_SHA256}"
    assert fetched.words[1] == "${EFA_URL}/aws-efa-installer-${EFA_VERSION}.tar.gz"
    assert arguments["EFA_URL"].startswith("https://")
    assert not parsed.final.all("ADD")
    assert not parsed.final.all("COPY")


def test_the_kernel_s_part_and_what_a_container_cannot_have_are_left_out(install):
    (options,) = re.findall(r"\./efa_installer\.sh (.*?) &&", install)
    assert set(options.split()) == {"-y", "--skip-kmod", "--skip-limit-conf", "--no-verify", "--skip-mpi"}


def test_the_build_fails_where_nccl_would_not_find_the_plugin(install):
    assert "/etc/ld.so.conf.d/isthmus-efa.conf && ldconfig && ldconfig -p | grep" in install
    for library, line in {
        "libnccl-net-ofi": "\tlibnccl-net-ofi.so (libc6,x86-64) => /opt/amazon/ofi-nccl/lib/libnccl-net-ofi.so",
        "libfabric": "\tlibfabric.so.1 (libc6,x86-64) => /opt/amazon/efa/lib/libfabric.so.1",
    }.items():
        (pattern,) = (
            found for found in re.findall(r"ldconfig -p \| grep '([^']+)'", install) if found.startswith(library)
        )
        assert re.search(pattern, line)
        assert not re.search(pattern, line.replace("/opt/amazon/", "/usr/lib/"))


def test_nothing_that_was_only_needed_to_build_it_stays(install):
    assert "--mount=type=bind,from=installer," in install
    assert "rm -rf /tmp/efa /var/lib/apt/lists/*" in install


def test_it_runs_as_the_trainer_does(parsed):
    assert [user.rest for user in parsed.final.all("USER")] == ["0:0", f"{USER}:{USER}"]
    assert parsed.final.instructions[-1].name == "USER"
    # ENTRYPOINT, environment and folder are the base's
    assert not {"ENTRYPOINT", "CMD", "ENV", "WORKDIR"} & {i.name for i in parsed.final.instructions}


def test_nothing_of_this_repository_is_in_its_context_and_the_tag_is_that_of_its_trainer():
    assert context_files(ROOT, TRAINER_EFA) == ()
    assert source_tag(ROOT, TRAINER_EFA, {"BASE": "a"}) != source_tag(ROOT, TRAINER_EFA, {"BASE": "b"})
