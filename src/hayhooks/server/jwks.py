"""The public keys with which an issuer signs its tokens, fetched from where it publishes them."""

import asyncio
import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from hayhooks._version import __version__
from hayhooks.core.aio import in_thread
from hayhooks.settings import is_safe_source

if TYPE_CHECKING:
    from jwt import PyJWK

LIFETIME_S = 600.0  # then they are fetched anew, while the old ones go on counting
RETRY_S = 10.0  # so often at most anything is fetched, whatever tokens name
MAX_AGE_S = 4 * 3600.0  # older ones count no more, when the issuer cannot be reached
TIMEOUT_S = 10.0
MAX_BYTES = 1024 * 1024
_MAX_KEYS = 200
_READ_BYTES = 64 * 1024
_TYPES = ("RSA", "EC", "OKP")  # never "oct": a shared secret is no public key


class CannotFetch(Exception):
    """An address gave no usable answer; the message says which and why."""


class SigningKeys:
    """The keys of *issuer*, from *url* or from where its discovery document says. Event loop only.

    Fetching happens in a thread. *clock* gives seconds that never go back.
    """

    def __init__(
        self,
        issuer: str,
        url: str | None,
        *,
        on_error: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._on_error = on_error
        self._clock = clock
        self._keys: list[dict[str, Any]] | None = None
        self._usable: dict[tuple[str | None, str], PyJWK | None] = {}
        self._fetched_s = 0.0
        self._try_again_s = 0.0
        self._is_failing = False
        self._fetching: asyncio.Task[None] | None = None
        self.generation = 0  # grows when the keys have become others

    @property
    def are_there(self) -> bool:
        """Whether some are there that still count."""
        if self._keys is not None and self._clock() - self._fetched_s > MAX_AGE_S:
            self._keys = None
        return self._keys is not None

    @property
    def may_be_newer(self) -> bool:
        """Whether fetching may give others than are there, and is due or under way."""
        return self._fetching is not None or self._clock() >= self._try_again_s

    def find(self, kid: str | None, algorithm: str) -> "PyJWK | None":
        """The key of that id for that algorithm; without an id, the only one there is."""
        named = (kid, algorithm)
        if named not in self._usable:
            found = [key for data in self._keys or () if (key := _usable(data, kid, algorithm)) is not None]
            if not found:
                return None  # not remembered: there are as many ids as somebody makes up
            self._usable[named] = found[0] if kid is not None or len(found) == 1 else None
        return self._usable[named]

    def keep_fresh(self) -> None:
        """Begin to fetch them anew when their time has come; nobody waits for it."""
        now_s = self._clock()
        if (self._keys is None or now_s - self._fetched_s > LIFETIME_S) and now_s >= self._try_again_s:
            self._begin()

    async def fetch(self) -> None:
        """Fetch them, or wait for who does; not more often than every ``RETRY_S``."""
        if self.may_be_newer:
            await asyncio.shield(self._begin())

    def _begin(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                keys = await in_thread(fetch_keys, self._issuer, self._url)
        except Exception as error:  # a boundary: the next fetch may succeed
            if not self._is_failing:
                self._on_error(f"The keys of the issuer {self._issuer} cannot be fetched", error)
            self._is_failing = True
            return
        finally:
            self._fetching = None
            self._try_again_s = self._clock() + RETRY_S
        if keys != self._keys:
            self._keys, self._usable = keys, {}
            self.generation += 1
        self._fetched_s = self._clock()
        self._is_failing = False


def fetch_keys(issuer: str, url: str | None) -> list[dict[str, Any]]:
    """The signing keys as the issuer publishes them. Blocks.

    Raises:
        CannotFetch: With what was wrong with which address.
    """
    import jwt  # noqa: F401 - a tenth of a second that the event loop is spared

    if url is None:
        url = _discover(issuer)
    found = fetch_object(url).get("keys")
    if not isinstance(found, list):
        raise CannotFetch(f"{url} is no set of keys: it has no list 'keys'.")
    keys = [key for key in found[:_MAX_KEYS] if isinstance(key, dict) and key.get("kty") in _TYPES]
    return [key for key in keys if key.get("use", "sig") == "sig"]


def fetch_object(url: str) -> Mapping[str, Any]:
    """The JSON object at *url*. Blocks. Redirects are not followed: keys come from where the owner said.

    Raises:
        CannotFetch: It cannot be had, is too large, or is no JSON object.
    """
    if not is_safe_source(url):
        raise CannotFetch(f"{url} is neither https nor on this machine.")
    request = urllib.request.Request(  # noqa: S310 - the scheme was looked at
        url, headers={"Accept": "application/json", "User-Agent": f"hayhooks/{__version__}"}
    )
    # Other schemes than those two, such as file:, have no handler here.
    proxies: tuple[urllib.request.BaseHandler, ...] = () if _is_here(url) else (urllib.request.ProxyHandler(),)
    opener = urllib.request.OpenerDirector()
    for handler in (
        *proxies, urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), urllib.request.HTTPErrorProcessor(),
        _NoRedirects(), urllib.request.HTTPDefaultErrorHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    end_s = time.monotonic() + TIMEOUT_S
    body = b""
    try:
        with opener.open(request, timeout=TIMEOUT_S / 2) as answer:
            while piece := answer.read1(_READ_BYTES):
                body += piece
                if len(body) > MAX_BYTES:
                    raise CannotFetch(f"{url} is larger than {MAX_BYTES} bytes.")
                if time.monotonic() > end_s:
                    raise CannotFetch(f"{url} takes longer than {TIMEOUT_S:g} s.")
    except urllib.error.HTTPError as error:
        error.close()
        raise CannotFetch(f"{url} answered {error.code}.") from None
    except OSError as error:
        raise CannotFetch(f"{url} cannot be reached: {getattr(error, 'reason', None) or error}") from error
    except (ValueError, http.client.HTTPException) as error:
        raise CannotFetch(f"{url} gave no proper answer: {type(error).__name__}") from error
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise CannotFetch(f"{url} is no JSON object.")
    return found


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> NoReturn:
        fp.close()
        raise CannotFetch(f"{req.full_url} redirects to {newurl[:200]!r}, which is not followed.")


def _discover(issuer: str) -> str:
    where = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    document = fetch_object(where)
    # OpenID Connect Discovery 1.0, section 4.3: it must be the same, to the letter.
    if document.get("issuer") != issuer:
        said = str(document.get("issuer"))[:200]
        raise CannotFetch(f"{where} is of the issuer {said!r}, HAYHOOKS_JWT_ISSUER is {issuer!r}.")
    url = document.get("jwks_uri")
    if not isinstance(url, str) or not is_safe_source(url):
        raise CannotFetch(f"{where} names no https address of keys.")
    return url


def _usable(data: dict[str, Any], kid: str | None, algorithm: str) -> "PyJWK | None":
    from jwt import PyJWK, PyJWTError

    if (kid is not None and data.get("kid") != kid) or data.get("alg", algorithm) != algorithm:
        return None
    try:
        # Its algorithm is fixed here: a key counts for one that it was made for, whatever a token says.
        return PyJWK(data, algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError):  # of another kind, or broken
        return None


def _is_here(url: str) -> bool:
    return urlsplit(url).scheme == "http"
