"""How an OpenStack server becomes a node of the cluster: its cloud-init document. Pure."""

from infra.cluster.boot.render import USER_DATA_LIMIT, Boot, Escrow, files, node_config, user_data

__all__ = ["USER_DATA_LIMIT", "Boot", "Escrow", "files", "node_config", "user_data"]
