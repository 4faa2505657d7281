"""The Pulumi side of the local resources: what the program declares and the provider in `infra.local.server` makes."""

from typing import Any, ClassVar

import pulumi


class LocalResource(pulumi.CustomResource):
    """A resource of package `isthmus`: inputs go in under their names, outputs come back as attributes."""

    pulumi_type: ClassVar[str]
    output_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(self.pulumi_type, name, {**inputs, **dict.fromkeys(self.output_names), "status": None}, opts)

    def output(self, name: str) -> pulumi.Output[Any]:
        """An output by name. Raises `KeyError` for a name that the resource does not have."""
        if name not in self.output_names:
            raise KeyError(f"{self.pulumi_type} has no output {name}; it has {self.output_names}")
        value: pulumi.Output[Any] = getattr(self, name)
        return value


class SiteAuthority(LocalResource):
    pulumi_type = "isthmus:local:SiteAuthority"
    output_names = ("fingerprint", "expires", "public_files", "private_files")


class Site(LocalResource):
    pulumi_type = "isthmus:local:Site"
    output_names = ("facts",)


class DataShard(LocalResource):
    pulumi_type = "isthmus:local:DataShard"
    output_names = ("data_digest", "samples", "held_out_samples")


class Link(LocalResource):
    pulumi_type = "isthmus:local:Link"
    output_names = ("rate_mbps", "rtt_ms")


class TrainingRun(LocalResource):
    pulumi_type = "isthmus:local:TrainingRun"
    output_names = (
        "run_id",
        "model",
        "manifest_digest",
        "metrics",
        "rounds",
        "samples",
        "wall_s",
        "link_bytes",
        "ddp_link_bytes",
        "peak_memory_bytes",
        "plan",
    )


class CompressedModel(LocalResource):
    pulumi_type = "isthmus:local:CompressedModel"
    output_names = ("model", "manifest_digest", "metric", "before", "after", "bytes_before", "bytes_after")


class ModelRegistry(LocalResource):
    pulumi_type = "isthmus:local:ModelRegistry"


class ModelVersion(LocalResource):
    pulumi_type = "isthmus:local:ModelVersion"
    output_names = ("version", "page", "model_digest")


class Replica(LocalResource):
    pulumi_type = "isthmus:local:Replica"


class Gateway(LocalResource):
    pulumi_type = "isthmus:local:Gateway"


class Report(LocalResource):
    pulumi_type = "isthmus:local:Report"
    output_names = ("page", "page_digest")
