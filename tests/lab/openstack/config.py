"""The services' configuration files, as values. Pure."""

import base64

from tests.lab.openstack.ini import Sections, ini
from tests.lab.openstack.layout import ADMIN, CLOUD, HOST, PROJECT, REGION, SERVICE_USER, Layout, url
from tests.lab.openstack.swift import swift

_DRIVER = "isthmus_lab"


def files(layout: Layout, secret: bytes) -> dict[str, str]:
    """Texts by path below the run's folder; `secret` is what Barbican encrypts with, 32 bytes."""
    return {
        "etc/keystone.conf": ini(_keystone(layout)),
        "etc/glance/glance-api.conf": ini(_glance(layout)),
        "etc/placement.conf": ini(_placement(layout)),
        "etc/nova.conf": ini(_nova(layout)),
        "etc/neutron.conf": ini(_neutron(layout)),
        "etc/octavia.conf": ini(_octavia(layout)),
        "home/.barbican/barbican.conf": ini(_barbican(layout, secret)),
        **{f"etc/swift/{name}.conf": ini(sections) for name, sections in swift(layout, _login()).items()},
        "clouds.yaml": _clouds(),
        # Neutron and Octavia find drivers by entry points alone, so the lab's own need a distribution's metadata
        "plug/isthmus_lab-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: isthmus-lab\nVersion: 1\n",
        "plug/isthmus_lab-1.dist-info/entry_points.txt": (
            f"[neutron.ml2.mechanism_drivers]\n{_DRIVER} = tests.lab.openstack.inside.agents:Binder\n"
            f"[octavia.api.drivers]\n{_DRIVER} = tests.lab.openstack.inside.balancers:Accepting\n"
        ),
    }


def _login() -> dict[str, object]:
    """As whom services speak with each other."""
    return {
        "auth_type": "password",
        "auth_url": f"{url('keystone')}/v3",
        "username": SERVICE_USER,
        "password": SERVICE_USER,
        "project_name": "service",
        "user_domain_name": "Default",
        "project_domain_name": "Default",
        "region_name": REGION,
    }


def _tokens() -> dict[str, object]:
    return {**_login(), "www_authenticate_uri": f"{url('keystone')}/v3", "service_token_roles_required": True}


def _stored(layout: Layout, name: str) -> dict[str, object]:
    return {"connection": layout.database(name), "sqlite_synchronous": False}


def _locks(layout: Layout) -> dict[str, object]:
    return {"lock_path": layout.run / "locks"}


def _keystone(layout: Layout) -> Sections:
    return {
        "DEFAULT": {"public_endpoint": f"{url('keystone')}/"},
        "database": _stored(layout, "keystone"),
        "identity": {"password_hash_rounds": 4},  # the least: there is nobody to keep out
        "fernet_tokens": {"key_repository": layout.run / "keys/fernet"},
        "credential": {"key_repository": layout.run / "keys/credential"},
    }


def _glance(layout: Layout) -> Sections:
    def folder(name: str) -> dict[str, object]:
        return {"filesystem_store_datadir": layout.run / "glance" / name}

    return {
        "DEFAULT": {"enabled_backends": "files:file", "worker_self_reference_url": url("glance")},
        "database": _stored(layout, "glance"),
        "glance_store": {"default_backend": "files"},
        "files": folder("images"),
        "os_glance_staging_store": folder("staging"),
        "os_glance_tasks_store": folder("tasks"),
        "oslo_concurrency": _locks(layout),
        "paste_deploy": {
            "flavor": "keystone",
            "config_file": layout.environment / "etc/glance/glance-api-paste.ini",
        },
        "keystone_authtoken": _tokens(),
    }


def _placement(layout: Layout) -> Sections:
    return {
        "placement_database": {**_stored(layout, "placement"), "sync_on_startup": True},
        "api": {"auth_strategy": "keystone"},
        "keystone_authtoken": _tokens(),
    }


def _nova(layout: Layout) -> Sections:
    return {
        "DEFAULT": {
            "host": "lab",
            "my_ip": HOST,
            "state_path": layout.run / "nova",
            "transport_url": "fake://",  # its parts share one process, and so one bus in memory
            "compute_driver": "fake.FakeDriver",
            "vif_plugging_is_fatal": False,
            "vif_plugging_timeout": 0,
        },
        "api": {"auth_strategy": "keystone"},
        "wsgi": {"api_paste_config": layout.environment / "etc/nova/api-paste.ini"},
        "api_database": _stored(layout, "nova_api"),
        "database": _stored(layout, "nova"),
        "conductor": {"workers": 1},
        "scheduler": {"workers": 1},
        "oslo_concurrency": _locks(layout),
        "glance": {"api_servers": url("glance")},
        "placement": _login(),
        "neutron": _login(),
        "cinder": _login(),
        "service_user": {"send_service_user_token": True, **_login()},
        "keystone_authtoken": _tokens(),
    }


def _neutron(layout: Layout) -> Sections:
    return {
        "DEFAULT": {
            "core_plugin": "ml2",
            "service_plugins": "router,vpnaas",
            "api_paste_config": layout.environment / "etc/neutron/api-paste.ini",
            "state_path": layout.run,
            "transport_url": "fake://",
            "rpc_workers": 0,
            "dhcp_agent_notification": False,
        },
        "database": _stored(layout, "neutron"),
        "ml2": {
            "type_drivers": "flat,vxlan",
            "tenant_network_types": "vxlan",
            "mechanism_drivers": _DRIVER,
            "extension_drivers": "port_security",
        },
        "ml2_type_flat": {"flat_networks": "*"},
        "ml2_type_vxlan": {"vni_ranges": "1:1000"},
        "service_providers": {"service_provider": "VPN:lab:tests.lab.openstack.inside.agents.Tunnels:default"},
        "oslo_concurrency": _locks(layout),
        "nova": _login(),
        "placement": _login(),
        "keystone_authtoken": _tokens(),
    }


def _octavia(layout: Layout) -> Sections:
    return {
        "DEFAULT": {"transport_url": "fake://"},  # nobody listens: its workers make amphorae
        "api_settings": {
            "enabled_provider_drivers": f"{_DRIVER}: no amphorae",
            "default_provider_driver": _DRIVER,
        },
        "database": _stored(layout, "octavia"),
        "service_auth": _login(),
        "neutron": _login(),
        "oslo_concurrency": _locks(layout),
        "keystone_authtoken": _tokens(),
    }


def _barbican(layout: Layout, secret: bytes) -> Sections:
    return {
        "DEFAULT": {"host_href": url("barbican"), "db_auto_create": False},
        "database": _stored(layout, "barbican"),
        "queue": {"enable": False},
        "simple_crypto_plugin": {"kek": base64.urlsafe_b64encode(secret).decode()},
        "oslo_concurrency": _locks(layout),
        # without it no credential with access rules is let in
        "keystone_authtoken": {**_tokens(), "service_type": "key-manager"},
    }


def _clouds() -> str:
    """Entries for the stack's project and for whoever seeds the cloud."""

    def entry(name: str, user: str) -> str:
        return (
            f"  {name}:\n    region_name: {REGION}\n    identity_api_version: 3\n    auth:\n"
            f"      auth_url: {url('keystone')}/v3\n      username: {user}\n      password: {user}\n"
            f"      project_name: {user}\n      user_domain_name: Default\n      project_domain_name: Default\n"
        )

    return "clouds:\n" + entry(CLOUD, PROJECT) + entry(f"{CLOUD}-admin", ADMIN)
