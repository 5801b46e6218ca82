"""Who may manage the server: deploying is running code.

On loopback, management is open to programs of this machine, but not to pages that a browser has open: their
``Origin`` must be ours, and the ``Host`` must be loopback, so that no other name can be pointed here (DNS
rebinding). When the server listens beyond loopback an admin key is needed. A valid key is enough everywhere: a page
does not know it.
"""

import hmac
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Scope

from hayhooks.core.errors import Forbidden, Misdirected, Unauthorized

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
LONGEST_ORIGIN = 300  # a scheme, a name of 253 characters, a port; no pattern is tried on more
_SAFE_SITES = (b"same-origin", b"none")


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides about management requests, and about those for what other callers have left.

    *listens_beyond* says that the server was told to leave loopback. *origins* and *origin_regex* are those of CORS.
    """

    admin_key: str | None
    listens_beyond: bool
    allowed_hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    origin_regex: str | None = None

    def check_change(self, scope: Scope) -> None:
        """Let a deploy, an undeploy and the like pass.

        Raises:
            Unauthorized, Forbidden, Misdirected: With what the caller can do.
        """
        headers = dict(scope["headers"])
        if self._has_key(headers):
            return
        if self.admin_key is not None:
            raise Unauthorized(
                "Management needs the admin key: send 'Authorization: Bearer <key>', or use --api-key or "
                "HAYHOOKS_ADMIN_KEY with the command line."
            )
        self._check_browser(scope, headers)
        if _is_forwarded(headers):
            # A proxy on this machine speaks for callers from anywhere.
            raise Forbidden("Management through a proxy needs an admin key: start the server with HAYHOOKS_ADMIN_KEY.")
        if self._is_exposed(scope):
            raise Forbidden(
                "Management needs an admin key when the server listens beyond loopback, and none is set. Start the "
                "server with HAYHOOKS_ADMIN_KEY=<secret> and send it as 'Authorization: Bearer <secret>'."
            )

    def check_read(self, scope: Scope) -> bool:
        """Let a status request pass; whether the caller may read reasons, too.

        Raises:
            Forbidden, Misdirected: A page of another origin may not read what is deployed.
        """
        headers = dict(scope["headers"])
        if self._has_key(headers):
            return True
        self._check_browser(scope, headers)
        return self.admin_key is None and not _is_forwarded(headers) and not self._is_exposed(scope)

    def check_kept(self, scope: Scope) -> None:
        """Let a request pass for what callers have left here: files, responses, conversations.

        Everybody may ask for it, as everybody may call runs; but of pages only those of this origin, or of an origin
        that CORS names: ``*`` names none.

        Raises:
            Forbidden, Misdirected: With what the server's owner can do.
        """
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if 0 < len(origin) <= LONGEST_ORIGIN and (
            origin in self.origins or (self.origin_regex and re.fullmatch(self.origin_regex, origin))
        ):
            return
        if not self._has_key(headers):
            self._check_browser(
                scope, headers, "may not read what callers left here. HAYHOOKS_CORS_ALLOW_ORIGINS can name the origin."
            )

    def _has_key(self, headers: dict[bytes, bytes]) -> bool:
        if self.admin_key is None:
            return False
        kind, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        given = bearer.strip() if kind.lower() == b"bearer" else headers.get(b"x-api-key", b"")
        return hmac.compare_digest(given, self.admin_key.encode())

    def _check_browser(
        self, scope: Scope, headers: dict[bytes, bytes], what: str = "may not manage this server."
    ) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_exposed(scope) and not self._is_known(_host_name(host)):
            raise Misdirected(
                f"This server is called localhost here, not {host[:80]!r}. Set HAYHOOKS_ALLOWED_HOSTS to "
                "allow a name, for example HAYHOOKS_ALLOWED_HOSTS='[\"hayhooks.example\"]'."
            )
        origin = headers.get(b"origin")
        if origin is not None:
            # Scheme aside: behind a proxy that ends TLS, the page is https and this request http.
            if urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower() or not host:
                raise Forbidden(f"Pages of other origins {what}")
        elif headers.get(b"sec-fetch-site", b"none") not in _SAFE_SITES:
            raise Forbidden(f"Pages of other origins {what}")

    def _is_exposed(self, scope: Scope) -> bool:
        """Listening beyond loopback, by its settings or by the address this request came in on."""
        if self.listens_beyond:
            return True
        server = scope.get("server")
        return server is not None and server[1] is not None and not is_loopback(server[0])

    def _is_known(self, name: str) -> bool:
        return is_loopback(name) or name in (host.lower() for host in self.allowed_hosts)


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an address, can only mean this machine."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # ::ffff:127.0.0.1 is how a socket for both families shows a caller of the older one.
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_forwarded(headers: dict[bytes, bytes]) -> bool:
    return any(name in headers for name in _FORWARDED)


def _host_name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
