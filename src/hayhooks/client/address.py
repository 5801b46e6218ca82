"""Where a server is, and the proxy on the way to it."""

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from hayhooks.client.errors import InvalidClientRequest


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: ``scheme://host:port`` and the path that a proxy put before it."""

    scheme: str
    host: str
    port: int
    base_path: str

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether the server is on this machine."""
        if self.host == "localhost" or self.host.endswith(".localhost"):
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_url(url: str) -> Address:
    """The address in *url*; ``http://`` may be left out.

    Raises:
        InvalidClientRequest: When it is none.
    """
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidClientRequest(f"{url!r} is not a server's URL: {error}.") from error
    if parts.scheme not in {"http", "https"} or not host or parts.query or parts.fragment or parts.username:
        raise InvalidClientRequest(f"{url!r} is not a server's URL. Write it as http://localhost:1416.")
    usual_port = 443 if parts.scheme == "https" else 80
    return Address(parts.scheme, host, port or usual_port, quote(parts.path.rstrip("/"), safe="/%"))


def proxy_of(address: Address) -> Address | None:
    """The proxy that the environment names for *address*, never for this machine itself."""
    if address.is_loopback:
        return None
    from urllib.request import getproxies, proxy_bypass  # slow to import, and most servers need no proxy

    proxy = getproxies().get(address.scheme)
    return None if not proxy or proxy_bypass(address.authority) else parse_url(proxy)
