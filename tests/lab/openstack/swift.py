"""Swift's configuration: account, container and object servers of one disk, and the proxy with S3 before them."""

import getpass
from collections.abc import Mapping

from tests.lab.openstack.ini import Sections
from tests.lab.openstack.layout import HOST, PORTS, REGION, Layout, url

_PIPELINE = (
    "catch_errors",
    "gatekeeper",
    "listing_formats",
    "tempurl",
    "authtoken",
    "s3api",
    "s3token",
    "keystoneauth",
    "copy",
    "slo",
    "dlo",
    "versioned_writes",
    "symlink",
)


def swift(layout: Layout, login: Mapping[str, object]) -> dict[str, Sections]:
    """By the file's name without its ending; `login` is as whom it asks Keystone about tokens."""
    common = {"bind_ip": HOST, "user": getpass.getuser(), "swift_dir": layout.etc / "swift", "workers": 0}
    stores = {
        kind: {
            "DEFAULT": {
                **common,
                "bind_port": PORTS[f"swift-{kind}"],
                "devices": layout.run / "swift",
                "mount_check": False,
                "fallocate_reserve": 0,
            },
            "pipeline:main": {"pipeline": f"{kind}-server"},
            f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
        }
        for kind in ("account", "container", "object")
    }
    own: dict[str, dict[str, object]] = {
        "versioned_writes": {"allow_object_versioning": True},
        "s3api": {"s3_acl": False, "location": REGION},
        "s3token": {
            "auth_uri": f"{url('keystone')}/v3",
            "reseller_prefix": "AUTH_",
            "delay_auth_decision": True,
            **{key: value for key, value in login.items() if key != "region_name"},
        },
        "keystoneauth": {"operator_roles": "admin, member"},
    }
    filters = {
        f"filter:{name}": {"use": f"egg:swift#{name}", **own.get(name, {})} for name in _PIPELINE if name != "authtoken"
    }
    proxy = {
        "DEFAULT": {**common, "bind_port": PORTS["swift-proxy"]},
        "pipeline:main": {"pipeline": " ".join([*_PIPELINE, "proxy-server"])},
        "app:proxy-server": {
            "use": "egg:swift#proxy",
            "account_autocreate": True,
            "allow_account_management": True,
        },
        **filters,
        "filter:authtoken": {
            "paste.filter_factory": "keystonemiddleware.auth_token:filter_factory",
            "delay_auth_decision": True,  # requests signed as S3's have no token yet
            "www_authenticate_uri": f"{url('keystone')}/v3",
            **login,
        },
    }
    shared = {
        "swift-hash": {"swift_hash_path_prefix": "isthmus", "swift_hash_path_suffix": "lab"},
        "storage-policy:0": {"name": "one", "default": "yes"},
    }
    return {"swift": shared, "proxy": proxy, **stores}
