"""Signatures over a model's folder: one DSSE envelope (OpenSSF Model Signing) that names every file and its digest."""

from pathlib import Path
from tempfile import TemporaryDirectory

import model_signing
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from workloads.spec.artifact import SIGNATURE
from workloads.spec.errors import UserError


def sign(folder: Path, private_key: Path) -> None:
    """Sign all files below `folder` with an EC key (PEM) into `folder/model.sig`; a valid signature is left as it is.

    Raises:
        UserError: the key cannot be read, or the signature that was just made does not verify.
    """
    try:
        public_pem = (
            load_pem_private_key(private_key.read_bytes(), password=None)
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=private_key)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"signing key {private_key} is not an EC private key in PEM ({error}); renew it") from None
    signature = folder / SIGNATURE
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    with TemporaryDirectory() as scratch:
        public_key = Path(scratch) / "public.pem"
        public_key.write_bytes(public_pem)
        if signature.exists():
            try:
                verify_signature(folder, public_key)
            except UserError:
                signature.unlink()  # of another key or of other content: made again below
            else:
                return
        signer.set_hashing_config(hashing).sign(folder, signature)
        verify_signature(folder, public_key)


def verify_signature(folder: Path, public_key: Path, *further_keys: Path) -> None:
    """Check `folder/model.sig` against an EC public key (PEM) and every file below `folder` against the signature.

    With `further_keys` any one of the keys will do.

    Raises:
        UserError: naming the folder and the first file that is missing, extra or changed, or what is wrong with the key.
    """
    try:
        _verify(folder, public_key)
    except UserError:
        if not further_keys:
            raise
        verify_signature(folder, *further_keys)


def _verify(folder: Path, public_key: Path) -> None:
    signature = folder / SIGNATURE
    if not signature.is_file():
        raise UserError(f"{signature}: no such file, so the model is not trusted; sign it by registering it")
    try:
        verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public_key)
    except (OSError, ValueError) as error:
        raise UserError(f"public key {public_key} is not an EC public key in PEM ({error}); renew it") from None
    try:
        verifier.verify(folder, signature)
    except InvalidSignature:
        raise UserError(f"{signature} was not made with the key of {public_key}; register the model again") from None
    except Exception as error:  # noqa: BLE001 - whatever a hostile file provokes in the parser, it is not trusted
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{folder} does not match its signature: {reason}; register the model again") from None
