"""One HTTP exchange with the server, over the standard library."""

import http.client
import json
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from hayhooks._version import __version__
from hayhooks.client.address import Address, parse_url, proxy_of
from hayhooks.client.errors import BrokenAnswer, InvalidClientRequest, ServerUnreachable, refusal
from hayhooks.client.multipart import PIECE_BYTES, Body

CONNECT_TIMEOUT_S = 10.0


class Answer:
    """A server's answer whose body is read as it arrives. Use it in a ``with`` block, or read it whole."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._response = response
        self.status = response.status
        self.reason = response.reason
        self.headers = response.headers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Leave: what has not been read is not sent on."""
        self._response.close()
        self._connection.close()

    @property
    def content_type(self) -> str:
        """The body's media type, lower case, without parameters."""
        return self.headers.get_content_type() if "Content-Type" in self.headers else "application/octet-stream"

    @property
    def charset(self) -> str:
        """How text in the body is encoded."""
        return self.headers.get_content_charset("utf-8")

    @property
    def filename(self) -> str | None:
        """The name of the file that the body is, without directories."""
        name = self.headers.get_filename()
        return name.replace("\\", "/").rpartition("/")[2] or None if name else None

    @property
    def is_attachment(self) -> bool:
        """Whether the server says that the body is a file to keep."""
        return self.headers.get_content_disposition() == "attachment"

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON."""
        return self.content_type == "application/json" or self.content_type.endswith("+json")

    @property
    def is_text(self) -> bool:
        """Whether the body is for reading: a person's eyes and a terminal can take it."""
        return self.is_json or self.content_type.startswith("text/") or self.content_type == "application/xml"

    def pieces(self) -> Iterator[bytes]:
        """The body as it arrives.

        Raises:
            BrokenAnswer: When it ends early or pauses for longer than the client's timeout.
        """
        try:
            while piece := self._response.read1(PIECE_BYTES):
                yield piece
            if self._response.length:  # fewer bytes than promised
                raise http.client.IncompleteRead(b"", self._response.length)
        except TimeoutError as error:
            raise BrokenAnswer("The server paused for too long; the answer is incomplete.") from error
        except (http.client.HTTPException, OSError) as error:
            raise BrokenAnswer(
                "The connection ended before the answer was complete.", hint="The server's log says why."
            ) from error
        finally:
            self.close()

    def read(self) -> bytes:
        """The whole body."""
        return b"".join(self.pieces())

    def json(self) -> Any:
        """The body, decoded from JSON."""
        body = self.read()
        try:
            return json.loads(body)
        except ValueError as error:
            raise BrokenAnswer(f"The answer is not JSON ({self.content_type}). Is it Hayhooks?") from error


class Transport:
    """Sends requests to one server, each over a connection of its own."""

    def __init__(self, url: str, *, api_key: str | None, timeout_s: float | None, verify_tls: bool) -> None:
        self.address = parse_url(url)
        self.url = url.rstrip("/") if "://" in url else f"http://{url.rstrip('/')}"
        if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip()):
            raise InvalidClientRequest("The API key must be printable ASCII, and not empty.")
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._verify_tls = verify_tls

    def request(self, method: str, path: str, body: Body | None = None, *, accept: str = "*/*") -> Answer:
        """Send one request and return the answer as soon as its head is there. *path* is percent-encoded already.

        Raises:
            ServerUnreachable: When there is no connection.
            ServerRefused: When the answer is an error.
            BrokenAnswer: When there is none.
        """
        connection, prefix = self._connect()
        try:
            headers = {"User-Agent": f"hayhooks/{__version__}", "Accept": accept, "Connection": "close"}
            if self._api_key:
                headers["Authorization"] = f"Bearer {self._api_key}"
            if body is not None:
                headers["Content-Type"] = body.content_type
            if method != "GET":
                headers["Content-Length"] = str(body.size_bytes if body else 0)
            answer = self._exchange(connection, method, prefix + self.address.base_path + path, headers, body)
        except BaseException:
            connection.close()
            raise
        if answer.status >= 300:
            raise _refused(answer)
        return answer

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Body | None,
    ) -> Answer:
        try:
            connection.putrequest(method, target)
            for name, value in headers.items():
                connection.putheader(name, value)
            try:
                connection.endheaders()
                for piece in body.pieces if body else ():
                    connection.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                pass  # a server that refuses a large body answers and closes while we still send: its answer counts
            return Answer(connection, connection.getresponse())
        except TimeoutError as error:
            raise BrokenAnswer(f"{self.url} did not answer within {self._timeout_s:g} s.") from error
        except (http.client.HTTPException, OSError) as error:
            raise BrokenAnswer(
                f"{self.url} closed the connection without an HTTP answer.",
                hint="Is it Hayhooks, and does it expect http or https? The server's log may say why.",
            ) from error

    def _connect(self) -> tuple[http.client.HTTPConnection, str]:
        """An open connection, and what goes before the path in its requests (a plain proxy wants the whole URL)."""
        address = self.address
        proxy = proxy_of(address)
        connection: http.client.HTTPConnection
        if address.scheme == "https":
            connection = http.client.HTTPSConnection(
                proxy.host if proxy else address.host,
                proxy.port if proxy else address.port,
                timeout=CONNECT_TIMEOUT_S,
                context=_tls_context(self._verify_tls),
            )
            if proxy:
                connection.set_tunnel(address.host, address.port)
        else:
            nearest = proxy or address
            connection = http.client.HTTPConnection(nearest.host, nearest.port, timeout=CONNECT_TIMEOUT_S)
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise _unreachable(self.url, error, proxy) from error
        connection.sock.settimeout(self._timeout_s)
        prefix = f"{address.scheme}://{address.authority}" if proxy and address.scheme == "http" else ""
        return connection, prefix


def _refused(answer: Answer) -> Exception:
    with answer:
        if answer.status < 400:
            where = answer.headers.get("Location", "another address")
            return BrokenAnswer(
                f"The server sends callers on to {where}.", hint="Give the final address with --url, https included."
            )
        try:
            body = json.loads(answer.read()) if answer.is_json else None
        except ValueError:
            body = None
        return refusal(answer.status, body, reason=answer.reason, retry_after=answer.headers.get("Retry-After"))


def _tls_context(verify: bool) -> Any:
    import ssl  # only https needs it

    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _unreachable(url: str, error: OSError, proxy: Address | None) -> ServerUnreachable:
    through = f" (through the proxy {proxy.authority})" if proxy else ""
    if isinstance(error, ConnectionRefusedError):
        return ServerUnreachable(url, f"nothing listens there{through}")
    if isinstance(error, TimeoutError):
        return ServerUnreachable(url, f"no answer within {CONNECT_TIMEOUT_S:g} s{through}")
    if isinstance(error, socket.gaierror):
        return ServerUnreachable(url, f"the host name is not known{through}")
    if type(error).__name__ == "SSLCertVerificationError":
        reason = f"its certificate is not trusted ({getattr(error, 'verify_message', '') or error}){through}"
        hint = "Set SSL_CERT_FILE to the authority's certificate; HAYHOOKS_DISABLE_SSL=true trusts any server."
        return ServerUnreachable(url, reason, hint)
    if type(error).__name__.startswith("SSL"):
        reason = f"it does not speak TLS{through}"
        return ServerUnreachable(url, reason, "Use http:// in --url, or unset HAYHOOKS_USE_HTTPS.")
    return ServerUnreachable(url, f"{error.strerror or error}{through}")
