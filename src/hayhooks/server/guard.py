"""Who may manage the server: deploying is running code.

On loopback, management is open to programs of this machine, but not to pages that a browser has open: their
``Origin`` must be ours, and the ``Host`` must be loopback, so that no other name can be pointed here (DNS
rebinding). When the server listens beyond loopback an admin key is needed. A valid key is enough everywhere: a page
does not know it.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Scope

from hayhooks.core.access import HOW_TO_SEND
from hayhooks.core.errors import Forbidden, HayhooksError, Misdirected, Unauthorized
from hayhooks.core.principal import LOCAL
from hayhooks.surfaces._http import CALLER, caller_of

_FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip")
LONGEST_ORIGIN = 300  # a scheme, a name of 253 characters, a port; no pattern is tried on more
_SAFE_SITES = (b"same-origin", b"none")


@dataclass(frozen=True, slots=True)
class Guard:
    """Decides about management requests, and about those for what other callers have left.

    *needs_key* says that management asks programs of this machine for a key, too; *listens_beyond* that the server was
    told to leave loopback; *requires_login* that calling runs needs a key. *origins* and *origin_regex* are CORS's.
    Who calls has been found out before, and is in the scope.
    """

    needs_key: bool
    listens_beyond: bool
    requires_login: bool = False
    allowed_hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    origin_regex: str | None = None

    def check_change(self, scope: Scope) -> None:
        """Let a deploy, an undeploy and the like pass for those who may deploy something.

        Raises:
            Unauthorized, Forbidden, Misdirected: With what the caller can do.
        """
        self._admit(scope)
        if not caller_of(scope).may_some("deploy"):
            raise Forbidden(f"The key {caller_of(scope).name!r} may not deploy.")

    def check_admin(self, scope: Scope) -> None:
        """Let those pass who may do everything. Raises as ``check_change``."""
        self._admit(scope)
        if not caller_of(scope).is_admin:
            raise Forbidden(f"The key {caller_of(scope).name!r} is no admin's.")

    def check_read(self, scope: Scope) -> None:
        """Let a status request pass; the scope's ``may_manage`` says whether the caller may read reasons, too.

        Raises:
            Unauthorized: It is for those who show who they are.
            Forbidden, Misdirected: A page of another origin may not read what is deployed.
        """
        caller = caller_of(scope)
        if caller.is_known:
            scope["may_manage"] = caller.has("deploy")
            return
        headers = dict(scope["headers"])
        self._check_browser(scope, headers)
        if self.requires_login:
            raise Unauthorized(f"This needs a key: {HOW_TO_SEND}.")
        scope["may_manage"] = not self.needs_key and not _is_forwarded(headers) and not self._is_exposed(scope)
        if scope["may_manage"]:
            scope[CALLER] = LOCAL

    def look(self, scope: Scope) -> None:
        """Let everybody pass; the scope's ``may_manage`` says whether the caller may read names and reasons."""
        try:
            self.check_read(scope)
        except HayhooksError:
            scope["may_manage"] = False

    def check_kept(self, scope: Scope, is_upload: bool = False) -> None:
        """Let a request pass for what callers have left here: files, responses, conversations.

        Everybody may ask for it, as everybody may call runs; but of pages only those of this origin, or of an origin
        that CORS names: ``*`` names none. An upload leaves something, and any page may send one.

        Raises:
            Unauthorized: It is for those who show who they are.
            Forbidden, Misdirected: With what the server's owner can do.
        """
        caller = caller_of(scope)
        if caller.is_known:
            if not caller.may_some("run"):
                raise Forbidden(f"The key {caller.name!r} may not run anything, and keeps nothing here.")
            return
        if self.requires_login:
            raise Unauthorized(f"This needs a key: {HOW_TO_SEND}.")
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if is_upload or (origin and self._is_named(origin)):
            return
        self._check_browser(
            scope, headers, "may not read what callers left here. HAYHOOKS_CORS_ALLOW_ORIGINS can name the origin."
        )

    def check_tools(self, scope: Scope, *, serves_nobody: bool) -> None:
        """Let a request of a protocol pass whose clients are programs that people give tools to.

        Whoever has a key may connect: what it may do is decided for each call. Of pages, only those of this origin or
        of one that CORS names: a page must not find this machine's tools by a name that it points here. With
        *serves_nobody* there is nothing for callers without a key, and they are told at once to get one.

        Raises:
            Unauthorized, Forbidden, Misdirected: With what the caller can do.
        """
        if caller_of(scope).is_known:
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not (origin and self._is_named(origin)):
            self._check_browser(
                scope, headers, "may not use its tools. HAYHOOKS_CORS_ALLOW_ORIGINS can name the origin."
            )
        if serves_nobody:
            raise Unauthorized(f"This needs a key: {HOW_TO_SEND}.")

    def _admit(self, scope: Scope) -> None:
        """Let those pass who have shown who they are, and programs of this machine where they need not."""
        if caller_of(scope).is_known:
            return
        headers = dict(scope["headers"])
        if self.needs_key:
            raise Unauthorized(
                "Management needs a key that may do this: send 'Authorization: Bearer <key>', or use --api-key or "
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
        scope[CALLER] = LOCAL

    def _is_named(self, origin: str) -> bool:
        if len(origin) > LONGEST_ORIGIN:
            return False
        if origin in self.origins:
            return True
        return self.origin_regex is not None and re.fullmatch(self.origin_regex, origin) is not None

    def _check_browser(
        self, scope: Scope, headers: dict[bytes, bytes], what: str = "may not manage this server."
    ) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_exposed(scope) and not self._is_known(_host_name(host)) and not _is_in_process(scope):
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
        return server is not None and server[1] is not None and not is_loopback(server[0]) and not _is_in_process(scope)

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


def _is_in_process(scope: Scope) -> bool:
    """Whether the caller is Starlette's TestClient with its defaults: a server has addresses of sockets there."""
    return (scope.get("server") or ("",))[0] == "testserver" and (scope.get("client") or ("",))[0] == "testclient"


def _is_forwarded(headers: dict[bytes, bytes]) -> bool:
    return any(name in headers for name in _FORWARDED)


def _host_name(host: str) -> str:
    """A Host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
