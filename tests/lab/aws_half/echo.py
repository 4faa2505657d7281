"""`python -m tests.lab.aws_half.echo PACKAGE ENGINE`: a provider that says of every resource that it is as it was wanted.

It takes the place of OpenStack's and of Kubernetes's, so that the program can be applied whole where AWS's half is what
is looked at.
"""

import sys
from collections.abc import Mapping
from typing import Any, Final

from tests.lab.providers.contract import UNKNOWN, Ask, Difference, Standin, Values
from tests.lab.providers.serving import serve

OUTPUTS: Final[Mapping[str, Values]] = {
    "openstack:identity/applicationCredential:ApplicationCredential": {"secret": "lab-credential"},
    "openstack:identity/ec2CredentialV3:Ec2CredentialV3": {"access": "test", "secret": "test"},
    "openstack:keymanager/secretV1:SecretV1": {"secretRef": "https://keys.example.org/v1/secrets/0"},
    "openstack:networking/floatingIp:FloatingIp": {"address": "192.0.2.20"},
    "openstack:networking/network:Network": {"mtu": 1450},
    "openstack:networking/port:Port": {"allFixedIps": ["10.20.0.10"]},
    "openstack:networking/router:Router": {"externalFixedIps": [{"ipAddress": "192.0.2.30", "subnetId": "outside"}]},
    "openstack:networking/routerInterface:RouterInterface": {"portId": "port-of-router"},
}
"""What the program reads of a resource beside its inputs; addresses are of RFC 5737."""

_IDENTITY = {
    "id": "keystone",
    "name": "keystone",
    "type": "identity",
    "endpoints": [
        {
            "id": "public",
            "interface": "public",
            "region": "RegionOne",
            "regionId": "RegionOne",
            "url": "https://identity.example.org/v3",
        }
    ],
}

ANSWERS: Final[Mapping[str, Values]] = {
    "openstack:identity/getAuthScope:getAuthScope": {"id": "scope", "serviceCatalogs": [_IDENTITY]},
    "openstack:images/getImage:getImage": {"id": "image"},
    "openstack:networking/getNetwork:getNetwork": {"id": "outside", "mtu": 1500},
}


class Echo(Standin):
    """Keeps nothing: the engine's state is all there is."""

    def __init__(self, package: str) -> None:
        self.package = package

    def configure(self, values: Values) -> None:
        """Whatever it is: nobody is called."""

    def check(self, ask: Ask) -> tuple[Values, dict[str, str]]:
        return ask.new, {}

    def diff(self, ask: Ask) -> Difference:
        return Difference(tuple(key for key in sorted({*ask.old, *ask.new}) if ask.old.get(key) != ask.new.get(key)))

    def create(self, ask: Ask) -> tuple[str, Values]:
        outputs = OUTPUTS.get(ask.token, {})
        if ask.preview:
            return "", {**ask.new, **dict.fromkeys(outputs, UNKNOWN)}
        return ask.name, {**ask.new, **outputs}

    def read(self, ask: Ask) -> tuple[Values, Values] | None:
        return ask.state, ask.old

    def update(self, ask: Ask) -> Values:
        return {**ask.state, **ask.new}

    def delete(self, ask: Ask) -> None:
        """There is nothing."""

    def invoke(self, function: str, arguments: Values) -> Values:
        found: dict[str, Any] = {**arguments, **ANSWERS[function]}
        return found


if __name__ == "__main__":
    serve(Echo(sys.argv.pop(1)))
