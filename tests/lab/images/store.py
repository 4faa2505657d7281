"""buildah with a store of its own: it touches no other image of this machine, and neither daemon nor registry."""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.lab.daemons import LabError
from tests.lab.images import contained

_TAIL_LINES = 15


@dataclass(frozen=True)
class Store:
    """Images below a folder, by reference."""

    folder: Path

    def has(self, reference: str) -> bool:
        done = contained.run(self._command("inspect", "--type", "image", reference), environment=self._environment())
        return done.returncode == 0

    def build(
        self,
        reference: str,
        dockerfile: Path,
        context: Path,
        log: Path,
        arguments: Mapping[str, str],
        secrets: Mapping[str, Path],
        target: str | None = None,
    ) -> None:
        """Build a Dockerfile, or it up to a stage, in a chroot, with nothing pulled. Layers that were made before are used again.

        Raises:
            LabError: a step failed; with the end of the log.
        """
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        given += [word for name, path in secrets.items() for word in ("--secret", f"id={name},src={path}")]
        given += ["--target", target] if target else []
        command = self._command(
            *("build", "--isolation", "chroot", "--pull=never", "--layers", "--format", "docker"),
            *("--file", str(dockerfile), "--tag", reference, *given, str(context)),
        )
        self._logged(command, log, f"{reference} cannot be built")

    def export(self, reference: str, archive: Path, log: Path) -> None:
        """The image as an archive, not compressed; at its place only when it is whole."""
        part = archive.with_suffix(".part")
        part.unlink(missing_ok=True)  # an archive that is there would have to be added to
        archive.parent.mkdir(parents=True, exist_ok=True)
        target = f"docker-archive:{part}:{reference}"
        self._logged(self._command("push", "--quiet", reference, target), log, f"{reference} cannot be exported", "a")
        part.replace(archive)

    def keep(self, references: Collection[str]) -> None:
        """Remove all images but these and what they were built of. Raises `LabError`."""
        listed = contained.run(
            self._command("images", "--format", "{{.Name}}:{{.Tag}}"), environment=self._environment()
        ).stdout.split()
        unwanted = [name for name in listed if name.startswith("localhost/") and name not in references]
        for options in ([*unwanted] if unwanted else []), ["--prune"]:
            if options:
                done = contained.run(self._command("rmi", *options), environment=self._environment())
                if done.returncode:
                    raise LabError(f"{self.folder}: images cannot be removed: {done.stdout.strip()[-300:]}")

    def drop_containers(self) -> None:
        """Those of builds that did not come to their end. Raises `LabError`."""
        command = self._command("rm", "--all")
        done = contained.run(command, environment=self._environment())
        if done.returncode:
            raise LabError(f"{self.folder} holds containers that cannot be removed: {done.stdout.strip()[-300:]}")

    def _logged(self, command: Sequence[str], log: Path, what: str, mode: str = "w") -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open(mode, encoding="utf-8") as file:
            done = contained.run(command, file, self._environment())
        if done.returncode:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise LabError("\n".join([f"{what}; the end of {log}:", *said[-_TAIL_LINES:]]))

    def _command(self, *words: str) -> list[str]:
        places = ("--root", str(self.folder / "images"), "--runroot", str(self.folder / "run"))
        return ["buildah", *places, "--storage-driver", "overlay", *words]

    def _environment(self) -> dict[str, str]:
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        return {**os.environ, "TMPDIR": str(temporary)}
