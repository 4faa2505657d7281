"""The Pulumi side of what `isthmus:keys` draws: passwords, keys and certificates that live in the state alone."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pulumi

from infra.local.resources import LocalResource


class Drawn(LocalResource):
    """Outputs under `secret_names` are secrets from birth."""

    secret_names: ClassVar[tuple[str, ...]]

    def __init__(self, name: str, inputs: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        hidden = pulumi.ResourceOptions(additional_secret_outputs=list(self.secret_names))
        super().__init__(name, inputs, pulumi.ResourceOptions.merge(opts, hidden))


class DrawnSecret(Drawn):
    """`length` characters of `alphabet` (letters and digits unless said otherwise); output `value`."""

    pulumi_type = "isthmus:keys:DrawnSecret"
    output_names = ("value",)
    secret_names = ("value",)

    def __init__(
        self,
        name: str,
        opts: pulumi.ResourceOptions,
        *,
        length: int = 32,
        alphabet: str | None = None,
        generation: int = 1,
    ) -> None:
        given = {} if alphabet is None else {"alphabet": alphabet}
        super().__init__(name, {"length": length, "generation": generation, **given}, opts)


class SigningKey(Drawn):
    """A pair of keys on P-256; outputs `private_pem` and `public_pem`."""

    pulumi_type = "isthmus:keys:SigningKey"
    output_names = ("private_pem", "public_pem")
    secret_names = ("private_pem",)

    def __init__(self, name: str, opts: pulumi.ResourceOptions, *, generation: int = 1) -> None:
        super().__init__(name, {"generation": generation}, opts)


class CertificateAuthority(Drawn):
    """A root that is kept; outputs `ca_pem`, `ca_key_pem`, `expires`."""

    pulumi_type = "isthmus:keys:CertificateAuthority"
    output_names = ("ca_pem", "ca_key_pem", "expires")
    secret_names = ("ca_key_pem",)

    def __init__(
        self, name: str, opts: pulumi.ResourceOptions, *, common_name: str, days: int = 3650, generation: int = 1
    ) -> None:
        super().__init__(name, {"common_name": common_name, "days": days, "generation": generation}, opts)


class IssuedCertificate(Drawn):
    """A holder's identity under an authority; outputs `certificate_pem`, `private_key_pem`, `expires`."""

    pulumi_type = "isthmus:keys:IssuedCertificate"
    output_names = ("certificate_pem", "private_key_pem", "expires")
    secret_names = ("private_key_pem",)

    def __init__(
        self,
        name: str,
        authority: CertificateAuthority,
        opts: pulumi.ResourceOptions,
        *,
        common_name: pulumi.Input[str],
        dns_names: Sequence[str] = (),
        days: int = 365,
        generation: int = 1,
    ) -> None:
        inputs = {
            "common_name": common_name,
            "ca_pem": authority.output("ca_pem"),
            "ca_key_pem": authority.output("ca_key_pem"),
            "dns_names": list(dns_names),
            "days": days,
            "generation": generation,
        }
        super().__init__(name, inputs, opts)
