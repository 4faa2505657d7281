"""`python cuda.py LIBRARIES TARGET`: stand-ins for the CUDA libraries that those in the folder LIBRARIES are linked to.

A build of torch for CUDA then loads where there is neither a GPU nor 3 GB for its libraries. Each of its calls to them
answers 100, `cudaErrorNoDevice`: https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
It runs inside the build of an image, with the standard library, binutils and a C compiler.
"""

import re
import subprocess
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

_LIBRARY = re.compile(r"lib(?:cu|nv|nccl)\w*\.so\.\d+")
_SYMBOL = re.compile(r"(?:cu|nv|nccl|__cuda)\w+")
_IN_WORDS = re.compile(r"\w*[gG]etError(String|Name)|ncclGetLastError")  # those that return a text


@dataclass(frozen=True)
class StandIn:
    """A library by its soname. `versioned` holds the symbols of each version that it must define."""

    soname: str
    versioned: Mapping[str, Collection[str]]
    plain: Collection[str]

    def source(self) -> str:
        """C of a function a symbol."""
        names = sorted({*self.plain, *(name for names in self.versioned.values() for name in names)})
        return "".join(
            f'const char *{name}(void) {{ return "no CUDA here"; }}\n'
            if _IN_WORDS.fullmatch(name)
            else f"long {name}(void) {{ return 100; }}\n"
            for name in names
        )

    def script(self) -> str:
        """The linker's version script; what it does not name has no version."""
        return "".join(
            f"{version} {{ global: {' '.join(f'{name};' for name in sorted(names))} }};\n"
            for version, names in sorted(self.versioned.items())
        )


def stand_ins(dynamic: str, needs: str, undefined: str, defined: str) -> tuple[StandIn, ...]:
    """What is missing, in the words of `readelf -d`, `readelf -V`, and `nm -D` with versions."""
    there = {symbol for symbol, _ in _symbols(defined)}
    wanted = {(symbol, version) for symbol, version in _symbols(undefined) if symbol not in there}
    versions = _versions(needs)
    of_libraries = {version for found in versions.values() for version in found}
    plain = {symbol for symbol, version in wanted if version not in of_libraries and _SYMBOL.fullmatch(symbol)}
    return tuple(
        StandIn(
            soname,
            {
                version: {symbol for symbol, wanted_version in wanted if wanted_version == version}
                for version in versions.get(soname, ())
            },
            plain,
        )
        for soname in sorted(set(re.findall(rf"\(NEEDED\).*\[({_LIBRARY.pattern})\]", dynamic)))
    )


def _symbols(text: str) -> list[tuple[str, str | None]]:
    """Names with their versions, of lines such as `0000 T name@@VERSION` and `U name@VERSION`."""
    names = [line.split()[-1] for line in text.splitlines() if re.search(r"\s[A-Za-z]\s+\S+$", line)]
    parted = [re.split(r"@+", name, maxsplit=1) for name in names]
    return [(name, version[0] if version else None) for name, *version in parted]


def _versions(text: str) -> dict[str, set[str]]:
    """Versions by the CUDA library that is to define them."""
    found: dict[str, set[str]] = {}
    library = ""
    for kind, name in re.findall(r"(File|Name): (\S+)", text):
        if kind == "File":
            library = name
        elif _LIBRARY.fullmatch(library):
            found.setdefault(library, set()).add(name)
    return found


def _run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main(libraries: Path, target: Path) -> None:
    files = [path for path in sorted(libraries.glob("*.so*")) if path.is_file()]
    made = stand_ins(
        _run("readelf", "--wide", "--dynamic", *files),
        _run("readelf", "--wide", "--version-info", *files),
        _run("nm", "--dynamic", "--with-symbol-versions", "--undefined-only", *files),
        _run("nm", "--dynamic", "--with-symbol-versions", "--defined-only", *files),
    )
    target.mkdir()
    source, script = target / "stand-in.c", target / "versions"
    for library in made:
        source.write_text(library.source(), encoding="utf-8")
        script.write_text(library.script(), encoding="utf-8")
        named = [f"-Wl,-soname,{library.soname}", *([f"-Wl,--version-script={script}"] if library.versioned else [])]
        _run("gcc", "-shared", "-fPIC", "-fno-builtin", "-w", *named, "-o", target / library.soname, source)
    source.unlink()
    script.unlink()
    print(f"{len(made)} libraries: {' '.join(library.soname for library in made)}")  # noqa: T201 - the build's log


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
