"""The keys that verify tokens and quotes. Each key is bound to one algorithm.

So no token and no quote can choose how it is verified. That prevents algorithm confusion.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt import PyJWK
from jwt.exceptions import PyJWTError

_LEAST_BITS = 2048
_OF_TYPE = {"RSA": "RS256", "EC": "ES256", "OKP": "EdDSA"}
# RFC 9864 uses the name of the curve.
_NAMES = {"EdDSA": ("EdDSA", "Ed25519")}


class Key(NamedTuple):
    """A key that verifies signatures of one algorithm."""

    algorithm: str
    key: Any


def of_secret(secret: str) -> Key:
    """The key of a shared secret."""
    return Key("HS256", secret.encode())


def only(key: Key) -> Callable[[str | None], Key]:
    """A lookup that returns this key for every key id."""
    return lambda _kid: key


def of_pem(pem: bytes) -> Key:
    """The public key in a PEM file. Raises ValueError."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ValueError("must be a file with a public key in PEM") from error
    return _bound(key)


def of_jwk(jwk: Mapping[str, Any]) -> Key:
    """The public key of a JWK (RFC 7517). Raises ValueError if it is not a public key for signatures."""
    if jwk.get("kty") not in _OF_TYPE or "d" in jwk:
        raise ValueError("is not a public key")
    if jwk.get("use", "sig") != "sig" or "verify" not in jwk.get("key_ops", ("verify",)):
        raise ValueError("is not for signatures")
    try:
        bound = _bound(PyJWK(dict(jwk), _OF_TYPE[jwk["kty"]]).key)
    except (PyJWTError, UnsupportedAlgorithm) as error:
        raise ValueError("cannot be read") from error
    if jwk.get("alg", bound.algorithm) not in _NAMES.get(bound.algorithm, (bound.algorithm,)):
        raise ValueError("is for another algorithm")
    return bound


def _bound(key: Any) -> Key:
    match key:
        case RSAPublicKey(key_size=bits) if bits >= _LEAST_BITS:
            return Key("RS256", key)
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return Key("ES256", key)
        case Ed25519PublicKey():
            return Key("EdDSA", key)
    raise ValueError(f"must hold a key of RSA ({_LEAST_BITS} bits or more), EC P-256 or Ed25519")
