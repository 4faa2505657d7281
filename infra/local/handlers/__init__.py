"""One handler a kind of resource."""

from typing import Any

from infra.local.handler import Handler
from infra.local.handlers.authority import AuthorityHandler
from infra.local.handlers.certificates import CertificateAuthorityHandler, IssuedCertificateHandler
from infra.local.handlers.job import CompressionHandler, ReportHandler, ShardHandler, VersionHandler
from infra.local.handlers.keys import DrawnSecretHandler, SigningKeyHandler
from infra.local.handlers.service import GatewayHandler, LinkHandler, RegistryHandler, ReplicaHandler
from infra.local.handlers.site import SiteHandler
from infra.local.handlers.training import TrainingHandler

HANDLERS: tuple[Handler[Any], ...] = (
    AuthorityHandler(),
    SiteHandler(),
    ShardHandler(),
    LinkHandler(),
    TrainingHandler(),
    CompressionHandler(),
    RegistryHandler(),
    VersionHandler(),
    ReplicaHandler(),
    GatewayHandler(),
    ReportHandler(),
    DrawnSecretHandler(),
    SigningKeyHandler(),
    CertificateAuthorityHandler(),
    IssuedCertificateHandler(),
)
