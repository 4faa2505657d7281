"""Where images are made and left."""

from dataclasses import dataclass
from pathlib import Path

from infra.settings import ROOT

LAB = ROOT / ".state/lab"


@dataclass(frozen=True)
class Layout:
    """Folders below the lab's own."""

    root: Path = LAB

    @property
    def binaries(self) -> Path:
        return self.root / "cluster/bin"

    @property
    def images(self) -> Path:
        """Archives of `docker save`'s kind, each with one image `localhost/NAME:1`."""
        return self.root / "cluster/images"

    @property
    def store(self) -> Path:
        """Of the builder, with every layer that a later build can use again."""
        return self.root / "images-store"

    @property
    def pause(self) -> Path:
        return self.store / "made/pause"

    def archive(self, name: str) -> Path:
        return self.images / f"{name}.tar"

    def key(self, name: str) -> Path:
        """Of what the image was made when it was built."""
        return self.store / "keys" / name

    def log(self, name: str) -> Path:
        return self.store / "log" / f"{name}.log"


def reference(name: str) -> str:
    """What an image is called in the store and on the nodes."""
    return f"localhost/{name}:1"
