"""An issuer of JSON Web Tokens on this machine: it publishes its keys over HTTP and signs what it is told to."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "hayhooks"
_KINDS: dict[str, Any] = {"RS": RSAAlgorithm, "PS": RSAAlgorithm, "ES": ECAlgorithm, "Ed": OKPAlgorithm}


class SigningKey:
    """A private key with its id."""

    def __init__(self, kid: str, algorithm: str = "ES256") -> None:
        self.kid = kid
        self.algorithm = algorithm
        self.private: Any
        if algorithm[:2] in ("RS", "PS"):
            self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        elif algorithm == "EdDSA":
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
            self.private = ec.generate_private_key(curves[algorithm])

    @property
    def jwk(self) -> dict[str, Any]:
        """The public half, as it is published."""
        made: dict[str, Any] = _KINDS[self.algorithm[:2]].to_jwk(self.private.public_key(), as_dict=True)
        return {**made, "kid": self.kid, "use": "sig"}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A token with these claims."""
        return jwt.encode(claims, self.private, self.algorithm, {"kid": self.kid, **header})


class Issuer:
    """What it publishes can be changed while it runs; what it was asked for is counted by path."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.keys: list[SigningKey] = [SigningKey("first")]
        self.asked: list[str] = []
        self.pages: dict[str, Any] = {}  # path: what is answered there instead; an int is a status, a str a redirect

    @property
    def jwks_url(self) -> str:
        """Where its keys are."""
        return f"{self.url}/keys"

    def claims(self, **changes: Any) -> dict[str, Any]:
        """Claims that count, with changes; None leaves one out."""
        now_s = int(time.time())
        claims = {
            "iss": self.url, "aud": AUDIENCE, "sub": "user-1", "iat": now_s, "exp": now_s + 300, "scope": "run read",
        }  # fmt: skip
        return {name: value for name, value in {**claims, **changes}.items() if value is not None}

    def token(self, **changes: Any) -> str:
        """A token that counts, with changed claims."""
        return self.keys[0].sign(self.claims(**changes))

    def page(self, path: str) -> Any:
        """What is answered at *path*."""
        if path in self.pages:
            return self.pages[path]
        if path == "/keys":
            return {"keys": [key.jwk for key in self.keys]}
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": self.jwks_url}
        return 404


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """An issuer on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked.append(self.path)
            page = issuer.page(self.path)
            status = 302 if isinstance(page, str) else page if isinstance(page, int) else 200
            body = page if isinstance(page, bytes) else json.dumps(page).encode()
            self.send_response(status)
            if isinstance(page, str):
                self.send_header("Location", page)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
