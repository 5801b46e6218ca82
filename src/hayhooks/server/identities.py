"""Who calls: what the credentials of a request prove."""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence

from hayhooks.core.aio import in_thread
from hayhooks.core.errors import Unauthorized, Unavailable
from hayhooks.core.keys import PREFIX, APIKey, KeyStore, id_in
from hayhooks.core.principal import ADMIN, ANONYMOUS, Principal
from hayhooks.server.tokens import PREFIX as TOKEN_PREFIX
from hayhooks.server.tokens import Tokens
from hayhooks.telemetry import log_error

Headers = Sequence[tuple[bytes, bytes]]

LOOK_S = 0.25  # so often at most the key store is asked whether something has changed
_ATTEMPTS = 3


class Identities:
    """Finds out who calls, from ``Authorization: Bearer`` and ``X-API-Key``. Event loop only.

    A credential of nobody's known form is nobody's: clients that must send some key send ``sk-anything`` to open
    servers. Whether nobody may do what they ask for is decided elsewhere.

    Tokens of an issuer are checked by *tokens*. All keys of *keys* are in memory. What other processes change there is
    seen within ``LOOK_S``, a new key at once. While the store cannot be read, what is in memory counts.
    """

    def __init__(
        self,
        keys: KeyStore,
        admin_key: str | None = None,
        tokens: Tokens | None = None,
        *,
        clock: Callable[[], float] = time.time,
        on_error: Callable[[str, BaseException], None] = log_error,
    ) -> None:
        self._keys = keys
        self._tokens = tokens
        self._admin = hashlib.sha256(admin_key.encode()).digest() if admin_key else None
        self._admin_looks_like_one = (admin_key or "").encode().startswith(PREFIX)
        self._clock = clock
        self._on_error = on_error
        self._table: Mapping[bytes, tuple[APIKey, Principal]] | None = None
        self._counter = 0  # of the store, and its own changes, when the table was read
        self._own_changes = 0
        self._has_news = True  # the table is not what the store has by now
        self._look_again_s = 0.0
        self._is_failing = False
        # Holders of keys by the header that proved it, with the end of the key; only until the next look at the store.
        # A dictionary compares whole hashes, which differ from process to process, before it compares a secret.
        self._seen: dict[tuple[bytes, bytes], tuple[Principal, float | None]] = {}
        self._waits_for_tokens = False  # or else for keys: what the last look that found nothing lacked
        self._reading: asyncio.Task[None] | None = None

    def known(self, headers: Headers) -> Principal | None:
        """The caller, in microseconds; None when that takes a while to find out: then ask ``find``.

        Raises:
            Unauthorized: The credential is one of ours, but does not count, or there are two.
        """
        mine: tuple[bytes, bytes] | None = None
        for header in headers:
            if header[0] in _NAMES:
                if mine is not None:
                    return self._look(headers, may_wait=True)
                mine = header
        if mine is None:
            return ANONYMOUS
        seen = self._seen.get(mine)
        if (
            seen is not None
            and self._own_changes == self._keys.own_changes
            and time.monotonic() < self._look_again_s
            and (seen[1] is None or self._clock() < seen[1])
        ):
            return seen[0]
        caller = self._look(headers, may_wait=True)
        if caller is not None and caller.kind == "key" and self._table is not None:
            self._seen[mine] = (caller, self._table[caller.id.removeprefix("key:").encode()][0].expires_s)
        return caller

    async def find(self, headers: Headers) -> Principal:
        """The caller.

        Raises:
            Unauthorized: As ``known``.
            Unavailable: What is needed to know cannot be read now.
        """
        for _ in range(_ATTEMPTS):
            found = self._look(headers, may_wait=True)
            if found is not None:
                return found
            if self._waits_for_tokens and self._tokens is not None:
                await self._tokens.fetch()
            else:
                await self._read_keys()
        found = self._look(headers, may_wait=False)
        if found is None:
            raise Unavailable("Keys cannot be checked at the moment. Try again later.")
        return found

    def _look(self, headers: Headers, *, may_wait: bool) -> Principal | None:
        given: bytes | None = None
        for name, value in headers:
            if name == b"authorization":
                value = _bearer(value)
            elif name != b"x-api-key":
                continue
            if not value or value == given:
                continue
            if given is not None:
                given = self._one_of(headers)
                break
            given = value
        return ANONYMOUS if given is None else self._caller_with(given, may_wait)

    def _one_of(self, headers: Headers) -> bytes | None:
        """The one credential among several that is of a form known here."""
        values = {_bearer(value) if name == b"authorization" else value for name, value in headers if name in _NAMES}
        ours = [value for value in values if self._is_ours(value)]
        if len(ours) > 1:
            raise Unauthorized("The request carries two different keys: send one, or the same in both headers.")
        return ours[0] if ours else None

    def _is_ours(self, given: bytes) -> bool:
        if given.startswith(PREFIX) or self._is_admin(given):
            return True
        return self._tokens is not None and self._tokens.is_ours(given)

    def _is_admin(self, given: bytes) -> bool:
        # Of digests, the comparison tells not even the length.
        return self._admin is not None and hmac.compare_digest(hashlib.sha256(given).digest(), self._admin)

    def _caller_with(self, given: bytes, may_wait: bool) -> Principal | None:
        if given.startswith(PREFIX) and not (self._admin_looks_like_one and self._is_admin(given)):
            return self._holder(given, may_wait)
        if self._is_admin(given):
            return ADMIN
        if self._tokens is not None and given.startswith(TOKEN_PREFIX):
            self._waits_for_tokens = True
            return self._tokens.known(given)
        return ANONYMOUS

    def _holder(self, given: bytes, may_wait: bool) -> Principal | None:
        """Whose API key *given* is."""
        self._waits_for_tokens = False
        if may_wait and self._is_stale():
            return None
        found = self._table.get(id_in(given)) if self._table is not None else None
        if found is None:
            if self._table is None or (may_wait and self._has_changed()):  # perhaps it is new
                return None
            raise Unauthorized(_UNKNOWN)
        key, caller = found
        if not key.is_opened_by(given):
            raise Unauthorized(_UNKNOWN)
        if key.revoked_s is not None:
            raise Unauthorized(f"The key {key.name!r} has been revoked.")
        if key.expires_s is not None and key.expires_s <= self._clock():
            raise Unauthorized(f"The key {key.name!r} has expired.")
        return caller

    def _is_stale(self) -> bool:
        now_s = time.monotonic()
        if self._is_failing and now_s < self._look_again_s:
            return False
        if self._has_news or self._own_changes != self._keys.own_changes:
            return True
        return now_s >= self._look_again_s and self._has_changed()

    def _has_changed(self) -> bool:
        self._look_again_s = time.monotonic() + LOOK_S
        self._seen = {}
        try:
            self._has_news = self._counter != self._keys.counter()
        except OSError as error:
            self._fail(error)
        return self._has_news

    async def _read_keys(self) -> None:
        """Read all keys once, for everybody who waits for that."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read())
        await asyncio.shield(self._reading)  # others wait for it, too

    async def _read(self) -> None:
        try:
            # Before the rows: what changes while they are read differs from it.
            own_changes, counter = self._keys.own_changes, self._keys.counter()
            keys = await in_thread(self._keys.all)
        except Exception as error:  # a boundary: the next look may succeed
            self._fail(error)
            return
        finally:
            self._reading = None
        self._seen = {}
        self._table = {key.id.encode(): (key, key.principal) for key in keys}
        self._own_changes, self._counter = own_changes, counter
        self._look_again_s = time.monotonic() + LOOK_S
        self._has_news = self._is_failing = False

    def _fail(self, error: BaseException) -> None:
        if not self._is_failing:
            self._on_error("Keys cannot be read; those known so far go on counting", error)
        self._is_failing = True
        self._look_again_s = time.monotonic() + LOOK_S


_NAMES = (b"authorization", b"x-api-key")
_UNKNOWN = "This key is not known here. Was it made for another server, cut, or changed?"


def _bearer(value: bytes) -> bytes:
    kind, _, given = value.partition(b" ")
    return given.strip() if kind.lower() == b"bearer" else b""
