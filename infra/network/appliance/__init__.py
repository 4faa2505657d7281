"""What the gateway VM is made of, rendered from values. Pure."""

from infra.network.appliance.render import HEALTH_PORT, SSH_PORT, Appliance, files, user_data

__all__ = ["HEALTH_PORT", "SSH_PORT", "Appliance", "files", "user_data"]
