"""What goes into the lab's images: stand-ins for CUDA, and how packages are reached without a trace."""

from pathlib import Path

import pytest

from tests.lab.images.cuda import StandIn, stand_ins
from tests.lab.images.indexes import Indexes, indexes
from tests.lab.images.workshop import secret_files

DYNAMIC = """
File: libtorch_cuda.so
 0x0000000000000001 (NEEDED)             Shared library: [libcudart.so.13]
 0x0000000000000001 (NEEDED)             Shared library: [libnccl.so.2]
 0x0000000000000001 (NEEDED)             Shared library: [libc.so.6]
 0x000000000000000e (SONAME)             Library soname: [libtorch_cuda.so]
File: libtorch_global_deps.so
 0x0000000000000001 (NEEDED)             Shared library: [libcudart.so.13]
"""
NEEDS = """
Version needs section '.gnu.version_r' contains 2 entries:
  000000: Version: 1  File: libcudart.so.13  Cnt: 1
  0x0010:   Name: libcudart.so.13  Flags: none  Version: 16
  0x0020: Version: 1  File: libc.so.6  Cnt: 2
  0x0030:   Name: GLIBC_2.2.5  Flags: none  Version: 9
"""
UNDEFINED = """
libtorch_cuda.so:
                 U cudaMalloc@libcudart.so.13
                 U cudaGetErrorString@libcudart.so.13
                 U ncclAllReduce
                 U ncclGetLastError
                 U cuda_of_torch_itself
                 U malloc@GLIBC_2.2.5
                 w __gmon_start__
"""
DEFINED = """
libc10_cuda.so:
0000000000001000 T cuda_of_torch_itself
0000000000002000 T malloc@@OTHER
"""


@pytest.fixture
def made():
    return stand_ins(DYNAMIC, NEEDS, UNDEFINED, DEFINED)


def test_each_cuda_library_gets_a_stand_in_and_no_other(made):
    assert [library.soname for library in made] == ["libcudart.so.13", "libnccl.so.2"]


def test_symbols_are_of_the_version_that_they_are_asked_for_in(made):
    runtime, collectives = made
    assert runtime.versioned == {"libcudart.so.13": {"cudaMalloc", "cudaGetErrorString"}}
    assert collectives.versioned == {}
    assert runtime.script() == "libcudart.so.13 { global: cudaGetErrorString; cudaMalloc; };\n"


def test_symbols_without_a_version_are_everywhere_and_torchs_own_nowhere(made):
    assert [set(library.plain) for library in made] == [{"ncclAllReduce", "ncclGetLastError"}] * 2


def test_every_call_answers_that_there_is_no_device():
    source = StandIn("libnccl.so.2", {}, {"ncclAllReduce", "ncclGetLastError", "cudaGetLastError"}).source()
    assert source.splitlines() == [
        "long cudaGetLastError(void) { return 100; }",
        "long ncclAllReduce(void) { return 100; }",
        'const char *ncclGetLastError(void) { return "no CUDA here"; }',
    ]


def test_a_machine_without_settings_says_nothing_to_a_build():
    assert indexes({}, "", "") == Indexes()


def test_settings_come_from_the_environment_before_pips_files():
    config = "global.index-url='https://file.example/simple'\nglobal.cert='/etc/file.pem'\n"
    assert indexes({}, config, "").arguments == {
        "PIP_INDEX_URL": "https://file.example/simple",
        "UV_INDEX_URL": "https://file.example/simple",
    }
    environment = {"PIP_INDEX_URL": "https://env.example/simple", "UV_INDEX_URL": "https://uv.example/simple"}
    assert indexes(environment, config, "").arguments == {
        "PIP_INDEX_URL": "https://env.example/simple",
        "UV_INDEX_URL": "https://uv.example/simple",
    }


@pytest.mark.parametrize(
    ("environment", "config", "found"),
    [
        ({"PIP_CERT": "/a.pem", "SSL_CERT_FILE": "/b.pem"}, "", "/a.pem"),
        ({"SSL_CERT_FILE": "/b.pem"}, "global.cert='/c.pem'", "/b.pem"),
        ({}, ":env:.disable-pip-version-check='1'\nglobal.cert='/c.pem'", "/c.pem"),
    ],
)
def test_authorities_are_those_that_this_machines_clients_trust(environment, config, found):
    assert indexes(environment, config, "").authorities == Path(found)


def test_credentials_go_from_the_address_to_netrc():
    made = indexes(
        {"PIP_INDEX_URL": "https://me:p%40ss@mirror.example:8443/simple"}, "", "machine other login a password b"
    )
    assert set(made.arguments.values()) == {"https://mirror.example:8443/simple"}
    assert made.netrc == "machine other login a password b\nmachine mirror.example login me password p@ss"


def test_secrets_are_files_that_nobody_else_reads(tmp_path):
    files = secret_files(Indexes({}, "machine a login b password c", Path("/etc/ca.pem")), tmp_path)
    assert files == {"netrc": tmp_path / "netrc", "authorities": Path("/etc/ca.pem")}
    assert files["netrc"].stat().st_mode & 0o777 == 0o600
    assert secret_files(Indexes(), tmp_path) == {}
