"""Keeps a browser from doing with an answer what it is not for: guessing its type, framing, storing it."""

from flask import Flask, Response

# Transport security is for the proxy to promise, which has the certificate.
_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
# What has a tag may be kept by the one whose it is, and asked for anew each time by If-None-Match.
_TAGGED, _UNTAGGED = "private, no-cache", "no-store"


def init_app(app: Flask) -> None:
    """Hooks into every answer."""

    def harden(response: Response) -> Response:
        headers = response.headers
        headers.extend(_ALWAYS)
        if "Content-Security-Policy" not in headers:
            headers.add("Content-Security-Policy", _NOTHING)
        if "Cache-Control" not in headers:
            headers.add("Cache-Control", _TAGGED if "ETag" in headers else _UNTAGGED)
        return response

    app.after_request(harden)


def page_policy(nonce: str) -> str:
    """The Content-Security-Policy of a page whose own scripts have this nonce; all else is from here, too."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
