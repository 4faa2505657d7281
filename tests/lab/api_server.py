"""A Kubernetes API alone on loopback, with its controllers and without a node: what tests of its clients need.

Pods are in the hands of whoever tests: no kubelet says how they are.
"""

import base64
import datetime as dt
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from infra.local import certificates
from tests.kit.ports import free_ports
from tests.lab.cluster.control_plane import flags
from tests.lab.daemons import Daemon, until
from tests.lab.providers.kubernetes.kubeconfig import access

_LIMIT_S: Final = 90
_VALID: Final = dt.timedelta(days=1)
# a node that nobody speaks for is not dead here
_CONTROLLERS: Final = "*,-node-lifecycle-controller,-taint-eviction-controller"
_HOST: Final = "localhost"  # the name in its certificate


@dataclass
class ApiServer:
    """Etcd, API server and controller manager, all of them the one program `kube`; `folder` goes with them."""

    kube: Path
    folder: Path
    _daemons: list[Daemon] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def start(self) -> None:
        """Raises `LabError`, with the end of the log that says why; `stop` ends what was started."""
        etcd, peers, port = free_ports(3)
        self.folder.mkdir(parents=True)
        self._write_keys(port)
        self._run("etcd", self._etcd(etcd, peers))
        self._run("kube-apiserver", self._api(etcd, port))
        until("the API server", lambda: self._answers("/readyz"), _LIMIT_S, *self._daemons)
        managed = {"kubeconfig": self.kubeconfig, "bind-address": "127.0.0.1", "leader-elect": False, "secure-port": 0}
        self._run("kube-controller-manager", {**managed, "controllers": _CONTROLLERS})
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        until("the controllers", lambda: self._answers(account), _LIMIT_S, *self._daemons)

    def stop(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.stop()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self) -> httpx.Client:
        """Of an administrator."""
        way = access(str(self.kubeconfig))
        return httpx.Client(base_url=way.server, verify=way.tls(), trust_env=False, timeout=30)

    def _run(self, name: str, values: Mapping[str, object]) -> None:
        role = self.folder / name
        role.symlink_to(self.kube)
        daemon = Daemon(name, [role, *flags(values)], self.folder)
        self._daemons.append(daemon)
        daemon.start()

    def _answers(self, path: str) -> bool:
        try:
            with self.client() as client:
                return client.get(path).is_success
        except httpx.TransportError:
            return False

    def _etcd(self, port: int, peers: int) -> dict[str, object]:
        clients, others = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers}"
        return {
            "data-dir": self.folder / "data",
            "listen-client-urls": clients,
            "advertise-client-urls": clients,
            "listen-peer-urls": others,
            "initial-advertise-peer-urls": others,
            "initial-cluster": f"default={others}",
            "log-level": "warn",
            "unsafe-no-fsync": True,
        }

    def _api(self, etcd: int, port: int) -> dict[str, object]:
        return {
            "bind-address": "127.0.0.1",
            "secure-port": port,
            "etcd-servers": f"http://127.0.0.1:{etcd}",
            "service-cluster-ip-range": "10.96.0.0/16",
            "authorization-mode": "AlwaysAllow",  # of the few who can reach it
            "client-ca-file": self.folder / "ca.crt",
            "tls-cert-file": self.folder / "server.crt",
            "tls-private-key-file": self.folder / "server.key",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-signing-key-file": self.folder / "server.key",
            "service-account-key-file": self.folder / "server.pub",
        }

    def _write_keys(self, port: int) -> None:
        now = dt.datetime.now(dt.UTC)
        authority_key, server_key, admin_key = (certificates.draw_key() for _ in range(3))
        authority = certificates.authority_certificate(
            "lab", authority_key, now - certificates.CLOCK_SKEW, now + _VALID
        )

        def issued(name: str, *names: str, key: ec.EllipticCurvePrivateKey) -> str:
            issuer = (authority, authority_key)
            made = certificates.issued_certificate(name, names, key.public_key(), issuer, now + _VALID)
            return certificates.certificate_pem(made)

        self._write("ca.crt", certificates.certificate_pem(authority))
        self._write("server.crt", issued("kube-apiserver", _HOST, key=server_key))
        self._write("server.key", certificates.private_pem(server_key))
        self._write("server.pub", certificates.public_pem(server_key))
        admin = issued("admin", key=admin_key)
        text = _kubeconfig(
            f"https://{_HOST}:{port}",
            certificates.certificate_pem(authority),
            admin,
            certificates.private_pem(admin_key),
        )
        self._write("kubeconfig", text)

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="ascii")


def _kubeconfig(server: str, authority: str, certificate: str, key: str) -> str:
    def data(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "admin"}}],
            "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority-data": data(authority)}}],
            "users": [
                {"name": "admin", "user": {"client-certificate-data": data(certificate), "client-key-data": data(key)}}
            ],
        }
    )
