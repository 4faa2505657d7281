"""`isthmus:local:SiteAuthority`: a certificate authority, one identity a site, and the key that signs models."""

import datetime as dt
import hashlib
import os
import shutil
from pathlib import Path

from infra.local import certificates
from infra.local.handler import Context, Handler, State
from workloads.spec.base import Frozen, SiteName

_LIFETIME = dt.timedelta(days=365)
_RENEW_BEFORE = dt.timedelta(days=30)
CA = "ca.pem"


class AuthorityInputs(Frozen):
    """`folder` receives `ca.pem`, `SITE/cert.pem`, `SITE/key.pem`, `signer/key.pem` and `signer/public.pem`."""

    folder: Path
    sites: tuple[SiteName, ...]


class AuthorityHandler(Handler[AuthorityInputs]):
    """Keys are drawn once and kept in Pulumi's encrypted state, so that a lost or changed file is written again as it was.

    The authority's own key signs and is then forgotten: nobody can add a site without a new authority.
    """

    pulumi_type = "isthmus:local:SiteAuthority"
    inputs = AuthorityInputs
    secret = frozenset({"private_files"})

    async def create(self, inputs: AuthorityInputs, context: Context) -> State:
        public, private, expires = _draw(inputs.sites)
        _write(inputs.folder, public, private)
        context.note(f"drew one identity each for {', '.join(inputs.sites)}, valid until {expires:%Y-%m-%d}")
        return {
            "public_files": public,
            "private_files": private,
            "expires": expires.isoformat(),
            "fingerprint": hashlib.sha256(public[CA].encode()).hexdigest(),
            "status": "ok",
        }

    async def read(self, inputs: AuthorityInputs, state: State) -> State | None:
        if dt.datetime.fromisoformat(state["expires"]) < dt.datetime.now(dt.UTC) + _RENEW_BEFORE:
            return None  # a new authority is drawn by the next up
        for name, text in {**state["public_files"], **state["private_files"]}.items():
            path = inputs.folder / name
            if not path.is_file() or path.read_text(encoding="ascii") != text:
                return {"status": f"{name} is missing or changed"}
            if name in state["private_files"] and path.stat().st_mode & 0o077:
                return {"status": f"{name} can be read by others"}
        return {"status": "ok"}

    async def update(self, inputs: AuthorityInputs, state: State, context: Context) -> State:
        if state["folder"] != str(inputs.folder):
            _remove(Path(state["folder"]))
        if tuple(state["sites"]) != inputs.sites:
            return await self.create(inputs, context)
        _write(inputs.folder, state["public_files"], state["private_files"])
        context.note("wrote keys and certificates again from the encrypted state")
        kept = ("public_files", "private_files", "expires", "fingerprint")
        return {**{key: state[key] for key in kept}, "status": "ok"}

    async def delete(self, inputs: AuthorityInputs, state: State) -> None:
        del state
        _remove(inputs.folder)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, public: dict[str, str], private: dict[str, str]) -> None:
    for name, text in {**public, **private}.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_suffix(".tmp")
        mode = 0o600 if name in private else 0o644
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="ascii") as file:
            file.write(text)
        scratch.replace(path)


def _draw(sites: tuple[str, ...]) -> tuple[dict[str, str], dict[str, str], dt.datetime]:
    """Files by name, public and private, and when the certificates expire."""
    start = dt.datetime.now(dt.UTC) - certificates.CLOCK_SKEW
    expires = start + _LIFETIME
    authority = certificates.draw_key()
    root = certificates.authority_certificate("isthmus site authority", authority, start, expires)
    public, private = {CA: certificates.certificate_pem(root)}, {}
    for site in sites:
        key = certificates.draw_key()
        leaf = certificates.issued_certificate(site, [site], key.public_key(), (root, authority), expires)
        public[f"{site}/cert.pem"] = certificates.certificate_pem(leaf)
        private[f"{site}/key.pem"] = certificates.private_pem(key)
    signer = certificates.draw_key()
    private["signer/key.pem"] = certificates.private_pem(signer)
    public["signer/public.pem"] = certificates.public_pem(signer)
    return public, private, expires
