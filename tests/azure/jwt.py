"""Keys, key sets and tokens of a test issuer, by the openssl command line alone."""
import base64
import hashlib
import json
import re
import subprocess
from pathlib import Path


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*args: str, data: bytes | None = None) -> bytes:
    return subprocess.run(["openssl", *args], input=data, capture_output=True, check=True).stdout


def make_key(path: str | Path) -> str:
    """Write a new RSA key of 2048 bits as PEM, readable by its owner only; returns the path."""
    path = Path(path)
    path.touch(mode=0o600)
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(path))
    return str(path)


def _modulus(key: str | Path) -> bytes:
    text = _openssl("rsa", "-in", str(key), "-noout", "-modulus").decode()
    return bytes.fromhex(re.fullmatch(r"Modulus=([0-9A-F]+)\s*", text)[1])


def key_id(key: str | Path) -> str:
    return hashlib.sha256(_modulus(key)).hexdigest()[:16]


def jwks(*keys: str | Path, **members: str) -> dict:
    """The public key set, with further members ("issuer", "tenant") beside "keys"."""
    public = [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": key_id(k), "n": _base64url(_modulus(k)),
               "e": "AQAB"} for k in keys]
    return {"keys": public, **members}


def sign(key: str | Path, claims: dict, **header) -> str:
    """A compact token, signed RS256; header overrides members of the token's header."""
    head = {"typ": "JWT", "alg": "RS256", "kid": key_id(key), **header}
    text = ".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    signature = _openssl("dgst", "-sha256", "-sign", str(key), data=text.encode())
    return text + "." + _base64url(signature)


def claims_of(token: str) -> dict:
    """What a token says, unchecked."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
