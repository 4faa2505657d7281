"""Where the emulators lie and listen, and as whom one speaks with them."""

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
REGION = "us-east-1"
ACCOUNT = "123456789012"
"""Of both emulators: what one is told about the other's objects has its number in it."""

KEYS = ("test", "test")
"""Access key and secret. The emulators take any; a real one is never sent to them."""

PORTS = {"ministack": 4566, "moto": 5001}


def url(emulator: str) -> str:
    """Where an emulator answers."""
    return f"http://{HOST}:{PORTS[emulator]}"


def emulator_of(service: str) -> str:
    """Which one has a service, by boto3's name for it."""
    return "moto" if service == "ec2" else "ministack"


def credentials() -> dict[str, str]:
    """The environment of a command that speaks with them by AWS's own SDKs."""
    access, secret = KEYS
    return {
        "AWS_ACCESS_KEY_ID": access,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True)
class Layout:
    """Folders below one root. All but the environment is of one run, and goes with it."""

    root: Path

    @property
    def environment(self) -> Path:
        """The virtual environment of the emulators, which pin libraries that the project has newer."""
        return self.root / "venv"

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def kept(self) -> Path:
        """What no emulator has, kept by the stand-in provider instead."""
        return self.run / "kept"

    @property
    def home(self) -> Path:
        """What the emulators take for the user's home and for the place of temporary files."""
        return self.run / "home"
