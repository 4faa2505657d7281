"""Two authorities, neither of which can speak for the other."""

from typing import Any

from infra.mesh.certificates import issuers
from tests.kit import cloud_fakes as fakes
from tests.kit.cloud import cloud_settings, declare
from tests.kit.schemas import manifests_of, validate_all

ISSUER = "kubernetes:cert-manager.io/v1:ClusterIssuer"


def declared() -> Any:
    settings = cloud_settings()
    return declare(
        lambda scope: issuers(fakes.inside(scope), settings, fakes.controllers(), fakes.namespaces()), settings
    )


def test_every_object_fits_the_schema():
    assert validate_all(manifests_of(declared())) == 5


def test_sites_and_ingress_have_authorities_of_their_own():
    program = declared()
    assert (program.result.sites, program.result.ingress) == ("isthmus-sites", "isthmus-ingress")
    secrets = {
        resource.inputs["metadata"]["name"]: resource.inputs["spec"]["ca"]["secretName"]
        for resource in program.of_type(ISSUER)
        if "ca" in resource.inputs["spec"]
    }
    assert secrets == {"isthmus-sites": "isthmus-sites-ca", "isthmus-ingress": "isthmus-ingress-ca"}


def test_an_authority_lies_where_cert_manager_looks_and_keeps_its_key_at_renewal():
    for resource in declared().of_type("kubernetes:cert-manager.io/v1:Certificate"):
        assert resource.inputs["metadata"]["namespace"] == "cert-manager"
        assert resource.inputs["spec"]["isCA"]
        assert resource.inputs["spec"]["privateKey"]["rotationPolicy"] == "Never"


def test_an_issuer_comes_after_its_certificate():
    program = declared()
    assert program.named("isthmus-sites-authority").urn in program.named("isthmus-sites-issuer").depends_on
