"""Tokens for the tests, and an issuer whose keys can be had, changed, counted and lost."""

from __future__ import annotations

import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

if TYPE_CHECKING:
    from typing import Self

ISSUER, AUDIENCE, SECRET = "https://issuer.example", "orders", "s" * 32
CHECKED = {
    "AUTH": "jwt",
    "JWT_ISSUER": ISSUER,
    "JWT_AUDIENCE": AUDIENCE,
    "PAYMENT_PROVIDER": "sandbox",
    "PRICES": "client",
}
# Asks for tokens that a test can make with the secret.
SETTINGS = {**CHECKED, "JWT_SECRET": SECRET}

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
_JWK = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of a valid token, with these changes; None removes a claim."""
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ann",
        "scope": "orders:read orders:write",
        "iat": now,
        "exp": now + 86_400,
    }
    return {name: value for name, value in {**said, **changes}.items() if value is not None}


def token(sub: str = "ann", scope: str = "orders:read orders:write", **changes: Any) -> str:
    """A token made with the secret."""
    return jwt.encode(claims(sub=sub, scope=scope, **changes), SECRET, "HS256")


def bearer(given: str) -> dict[str, str]:
    """The header that a token goes into."""
    return {"Authorization": f"Bearer {given}"}


def pem(algorithm: str) -> bytes:
    """The public key of an algorithm as a PEM file holds it."""
    key = KEYS[algorithm].public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk(algorithm: str, kid: str | None = None, **facts: Any) -> dict[str, Any]:
    """The public key of an algorithm as a JWK set holds it."""
    shown = json.loads(_JWK[algorithm].to_jwk(KEYS[algorithm].public_key()))
    shown.pop("key_ops", None)
    return {**shown, **({"kid": kid} if kid else {}), **facts}


class Issuer:
    """Serves a JWK set on a free port, and counts how often; `gate` holds the answers back while clear."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.answer: tuple[int, bytes] = (200, json.dumps({"keys": keys}).encode())
        self.fetches = 0
        self.gate = Event()
        self.gate.set()
        self.asked = Event()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.fetches += 1
                issuer.asked.set()
                issuer.gate.wait(10)
                status, body = issuer.answer
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/jwks"

    def show(self, *keys: dict[str, Any]) -> None:
        """Has these keys from now on."""
        self.answer = (200, json.dumps({"keys": keys}).encode())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
