"""The sites' stores by S3, with the addresses and keys that the platform gave its pods."""

import base64
import configparser
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from infra.apps.pods import KEYS, PROFILES
from infra.mesh.fencing import TRAINING
from tests.lab.drills.view import View
from workloads.spec.artifact import RESULT, SIGNATURE, RunResult
from workloads.spec.delivery import Delivered

_SEAL: Final = "/manifest.json"  # of a checkpoint: written last
_EMULATOR = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
_PLAIN: Final = Config(
    s3={"addressing_style": "path"},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
)


@dataclass(frozen=True)
class SiteStore:
    """One site's."""

    site: str
    bucket: str
    s3: Any

    def text(self, key: str) -> str:
        return str(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode())

    def delivered(self, recipe: str, alias: str) -> Delivered:
        """Which model the alias means here."""
        return Delivered.model_validate_json(self.text(f"models/{recipe}/{alias}.json"))

    def result(self, run_id: str) -> RunResult:
        """What a finished run has left."""
        return RunResult.model_validate_json(self.text(f"runs/{run_id}/{RESULT}"))

    def checkpoints(self, run_id: str) -> dict[int, int]:
        """Of a run at this site: samples that it had trained on, by round, of those that are whole."""
        prefix = f"checkpoints/{run_id}/{self.site}/"
        keys = self.keys(prefix)
        whole = {key.removesuffix(_SEAL) for key in keys if key.endswith(_SEAL)}
        told = [json.loads(self.text(f"{folder}/progress.json")) for folder in sorted(whole)]
        return {progress["round"]: progress["samples"] for progress in told}

    def signature(self, model: Delivered) -> str:
        return self.text(f"models/{model.recipe}/{model.content}/{SIGNATURE}")

    def fetch(self, model: Delivered, folder: Path) -> Path:
        """The model's files below `folder`, as they were signed."""
        prefix = f"models/{model.recipe}/{model.content}/"
        for key in self.keys(prefix):
            name = key.removeprefix(prefix)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            self.s3.download_file(self.bucket, key, str(target))
        (folder / "listing.json").unlink(missing_ok=True)  # the delivery's, not the model's
        return folder

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]


def open_stores(view: View, urls: dict[str, str]) -> dict[str, SiteStore]:
    """By site. `urls` are those that the stack exports."""
    profiles = endpoints(view.one("configmap", PROFILES, TRAINING)["data"]["config"])
    keys = configparser.ConfigParser()
    for text in view.one("secret", KEYS, TRAINING).get("data", {}).values():
        keys.read_string(base64.b64decode(text).decode())
    made = {}
    for site, url in urls.items():
        region, endpoint = profiles[site]
        client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            config=_PLAIN,
            **(dict(keys[site]) if keys.has_section(site) else _EMULATOR),
        )
        made[site] = SiteStore(site, urlsplit(url).netloc, client)
    return made


def endpoints(config: str) -> dict[str, tuple[str, str | None]]:
    """Region and address by profile, from an AWS configuration with services. Pure."""
    parser = configparser.ConfigParser()
    parser.read_string(config)
    found = {}
    for section in parser.sections():
        if section.startswith("profile "):
            services = f"services {parser[section].get('services', '')}"
            nested = parser[services].get("s3", "") if parser.has_section(services) else ""
            values = dict(line.split(" = ", 1) for line in nested.split("\n") if " = " in line)
            found[section.removeprefix("profile ")] = (parser[section]["region"], values.get("endpoint_url"))
    return found
