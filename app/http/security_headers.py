"""Response headers that stop browsers from guessing content types, framing pages and storing answers."""

from flask import Flask, Response

# Strict-Transport-Security is up to the proxy, which has the certificate.
_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"))
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
# An answer with an ETag may be kept by its client, which revalidates it with If-None-Match.
_TAGGED, _UNTAGGED = "private, no-cache", "no-store"


def init_app(app: Flask) -> None:
    """Adds the headers to every response."""

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
    """The Content-Security-Policy of a page whose inline scripts have this nonce."""
    return (
        f"default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
