"""Dockerfiles as instructions, and the modules that a program imports."""

import ast
import re
import shlex
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction with its lines joined: `RUN`, `COPY`, … and what follows."""

    name: str
    rest: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.rest)

    @property
    def operands(self) -> list[str]:
        """Words that are no `--flag`."""
        return [word for word in self.words if not word.startswith("--")]


@dataclass(frozen=True)
class Stage:
    """What begins with a FROM."""

    base: str
    name: str
    instructions: tuple[Instruction, ...]

    def all(self, name: str) -> list[Instruction]:
        return [instruction for instruction in self.instructions if instruction.name == name]

    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for env in self.all("ENV") for word in env.words)


@dataclass(frozen=True)
class Dockerfile:
    arguments: dict[str, str]  # before the first stage
    stages: tuple[Stage, ...]

    @property
    def final(self) -> Stage:
        return self.stages[-1]


def parse(text: str) -> Dockerfile:
    """Raises `ValueError` for an instruction before the first FROM that is no ARG."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for instruction in _instructions(text):
        if instruction.name == "FROM":
            base, _, name = re.split(r"\s+", instruction.rest.replace(" as ", " AS "), maxsplit=2)
            stages.append(Stage(base, name, ()))
        elif stages:
            last = stages.pop()
            stages.append(Stage(last.base, last.name, (*last.instructions, instruction)))
        elif instruction.name == "ARG":
            name, _, default = instruction.rest.partition("=")
            arguments[name] = default
        else:
            raise ValueError(f"{instruction.name} stands before the first FROM")
    return Dockerfile(arguments, tuple(stages))


def imported(root: Path, entries: Iterable[str], packages: Iterable[str]) -> set[str]:
    """Modules of `packages` below `root` that `entries` import, at any depth and also inside functions."""
    seen: set[str] = set()
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        path = _file_of(root, module)
        if module in seen or path is None or module.split(".")[0] not in set(packages):
            continue
        seen.add(module)
        waiting.append(module.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{name.name}" for name in node.names)]
    return seen


def foreign(root: Path, entries: Iterable[str], packages: Iterable[str]) -> dict[str, str]:
    """Modules of neither `packages` nor Python itself that load with `entries`, by their first name, and who wants each.

    What is imported inside a function is left out: whoever calls that says what it takes.
    """
    seen: set[str] = set()
    found: dict[str, str] = {}
    waiting = list(entries)
    while waiting:
        module = waiting.pop()
        path = _file_of(root, module)
        if module in seen or path is None:
            continue
        seen.add(module)
        waiting.append(module.rpartition(".")[0])
        for name in _loaded(ast.parse(path.read_text(encoding="utf-8")).body):
            first = name.split(".")[0]
            if first in set(packages):
                waiting.append(name)
            elif first not in sys.stdlib_module_names:
                found.setdefault(first, module)
    return found


def _loaded(body: Iterable[ast.stmt]) -> Iterable[str]:
    """Names that statements import when they are run, at any depth but within functions."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{name.name}" for name in node.names))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _loaded(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = (getattr(node, part, []) for part in ("body", "orelse", "finalbody"))
            yield from (name for part in inside for name in _loaded(part))


def _file_of(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    found = [file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()]
    return found[0] if found else None


def _instructions(text: str) -> Iterable[Instruction]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.strip().partition(" ")
        yield Instruction(name.upper(), rest.strip())
