"""One explicit provider a kind of site. Default providers are disabled in every stack."""

import pulumi


class LocalProvider(pulumi.ProviderResource):
    """The provider of package `isthmus`, which `Pulumi.yaml` loads from this repository."""

    def __init__(self, name: str) -> None:
        super().__init__("isthmus", name, {})
