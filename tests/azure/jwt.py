"""Keys, key sets and tokens of a test issuer; keys by the openssl command line."""
import base64
import functools
import hashlib
import json
import re
import subprocess
from pathlib import Path


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _openssl(*args: str) -> bytes:
    return subprocess.run(["openssl", *args], capture_output=True, check=True).stdout


def make_key(path: str | Path) -> str:
    """Write a new RSA key of 2048 bits as PEM, readable by its owner only; returns the path."""
    path = Path(path)
    path.touch(mode=0o600)
    _openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", str(path))
    return str(path)


@functools.cache
def _numbers(key: str) -> tuple[int, int]:
    """Modulus and private exponent."""
    text = _openssl("rsa", "-in", key, "-noout", "-text").decode()
    found = (re.search(rf"^{name}:\s*\n((?:\s+[0-9a-f:]+\n)+)", text, re.MULTILINE)
             for name in ("modulus", "privateExponent"))
    return tuple(int(re.sub(r"[\s:]", "", numeral[1]), 16) for numeral in found)


def _modulus(key: str | Path) -> bytes:
    n, _ = _numbers(str(key))
    return n.to_bytes((n.bit_length() + 7) // 8, "big")


# DigestInfo of SHA-256, RFC 8017 section 9.2
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def _sign_rs256(key: str | Path, data: bytes) -> bytes:
    """
    RSASSA-PKCS1-v1_5. Without a child process: one that is forked while another thread writes to a mount closes that
    file, and its close waits for the very token that is being signed.
    """
    n, d = _numbers(str(key))
    size = (n.bit_length() + 7) // 8
    tail = b"\x00" + _SHA256_INFO + hashlib.sha256(data).digest()
    padded = b"\x00\x01" + b"\xff" * (size - 2 - len(tail)) + tail
    return pow(int.from_bytes(padded, "big"), d, n).to_bytes(size, "big")


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
    return text + "." + _base64url(_sign_rs256(key, text.encode()))


def claims_of(token: str) -> dict:
    """What a token says, unchecked."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
