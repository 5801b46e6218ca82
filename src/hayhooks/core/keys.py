"""API keys: what is known of one, how its secret is made and checked, and what a store of them must do.

A key reads ``hay_<id>_<secret>``. The id is no secret and stands in logs and lists; of the whole only a SHA-256 is
kept. A plain, fast hash is right here: slow ones such as bcrypt protect what people think up, but 238 random bits
cannot be found from their digest at any speed, and a check is a microsecond on the way of each request.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from hayhooks.core.errors import Forbidden, InvalidKey
from hayhooks.core.principal import CallerLimits, Principal, check_scope

PREFIX = b"hay_"
MAX_NAME_CHARS = 64
MAX_SCOPES = 100
MAX_REQUESTS_PER_MINUTE = 100_000  # each of the last minute is remembered
MAX_CONCURRENT_RUNS = 1_000_000
MAX_TIME_S = 253_402_300_799  # the end of the year 9999

_ID_LETTERS = string.ascii_lowercase + "234567"
_ID_CHARS = 12
_SECRET_LETTERS = string.ascii_letters + string.digits
_SECRET_CHARS = 40
_ID_PLACE = slice(len(PREFIX), len(PREFIX) + _ID_CHARS)


@dataclass(frozen=True, slots=True)
class APIKey:
    """What is known of a key beside its secret."""

    id: str
    name: str  # for people; of the keys that work, each has another
    scopes: frozenset[str]
    digest: bytes = field(repr=False)  # SHA-256 of the whole text that a caller sends
    created_s: int  # Unix time, as the others
    created_by: str  # the maker's Principal.id
    expires_s: int | None = None
    revoked_s: int | None = None
    requests_per_minute: int | None = None
    max_concurrent_runs: int | None = None

    def state(self, now_s: float) -> Literal["active", "expired", "revoked"]:
        """Whether it works at that time, and why not."""
        if self.revoked_s is not None:
            return "revoked"
        return "expired" if self.expires_s is not None and self.expires_s <= now_s else "active"

    def is_opened_by(self, given: bytes) -> bool:
        """Whether *given* is this key's text; takes as long whether it is or not."""
        return hmac.compare_digest(hashlib.sha256(given).digest(), self.digest)

    def described(self, now_s: float) -> dict[str, Any]:
        """What may be told of it, as JSON: neither the key nor its digest."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state(now_s),
            "scopes": sorted(self.scopes),
            "requests_per_minute": self.requests_per_minute,
            "max_concurrent_runs": self.max_concurrent_runs,
            "created_at": self.created_s,
            "created_by": self.created_by,
            "expires_at": self.expires_s,
            "revoked_at": self.revoked_s,
        }

    @property
    def principal(self) -> Principal:
        """Whoever calls with it."""
        has_limits = self.requests_per_minute is not None or self.max_concurrent_runs is not None
        limits = CallerLimits(self.requests_per_minute, self.max_concurrent_runs) if has_limits else None
        return Principal(f"key:{self.id}", self.name, "key", self.scopes, limits)


class KeyStore(Protocol):
    """Keeps API keys, for all processes of a server. All methods but the first two block; any thread may call them."""

    @property
    def own_changes(self) -> int:
        """How many changes were made through this object."""

    def counter(self) -> int:
        """Differs from before when something was changed, by whatever process. Takes microseconds.

        Raises:
            OSError: It cannot be read now.
        """

    def all(self) -> list[APIKey]:
        """All keys, also those that do not work any more, the oldest first."""

    def add(self, key: APIKey) -> None:
        """Keep *key*, durably. Raises KeyNameTaken when one of its name works at the time of its making."""

    def revoke(self, key_id: str, now_s: int) -> APIKey:
        """From now on it does not work, durably; a second time changes nothing. Raises KeyNotFound."""


def new_key(
    name: str,
    scopes: Iterable[str],
    *,
    created_by: str,
    now_s: float,
    expires_s: float | None = None,
    requests_per_minute: int | None = None,
    max_concurrent_runs: int | None = None,
) -> tuple[APIKey, str]:
    """A new key, and the text that a caller sends, which cannot be had again.

    Raises:
        InvalidKey: With what is wrong.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable() or name != name.strip():
        raise InvalidKey(f"The name of a key has 1 to {MAX_NAME_CHARS} printable characters, no space at its ends.")
    wanted = frozenset(scopes)
    if not wanted:
        raise InvalidKey("A key without scopes may do nothing: give it some, such as 'run' or 'run:rag-*'.")
    if len(wanted) > MAX_SCOPES:
        raise InvalidKey(f"A key has at most {MAX_SCOPES} scopes.")
    for scope in wanted:
        try:
            check_scope(scope)
        except ValueError as error:
            raise InvalidKey(str(error)) from None
    if expires_s is not None and not now_s < expires_s <= MAX_TIME_S:
        raise InvalidKey("A key must expire in the future, and before the year 10000.")
    _check_count("requests_per_minute", requests_per_minute, MAX_REQUESTS_PER_MINUTE)
    _check_count("max_concurrent_runs", max_concurrent_runs, MAX_CONCURRENT_RUNS)
    key_id = _random(_ID_LETTERS, _ID_CHARS)
    text = f"hay_{key_id}_{_random(_SECRET_LETTERS, _SECRET_CHARS)}"
    key = APIKey(
        key_id, name, wanted, hashlib.sha256(text.encode()).digest(), int(now_s), created_by,
        None if expires_s is None else int(expires_s), None, requests_per_minute, max_concurrent_runs,
    )  # fmt: skip
    return key, text


def id_in(given: bytes) -> bytes:
    """The id in what a caller sent; that may be anything, and then this fits no key."""
    return given[_ID_PLACE]


def check_gift(maker: Principal, scopes: Iterable[str]) -> None:
    """Raise Forbidden when *maker* would give away a scope that it has not itself."""
    for scope in scopes:
        word, _, pattern = scope.partition(":")
        if maker.is_admin or scope in maker.scopes or word in maker.scopes:
            continue
        is_one = pattern and not set("*?") & set(pattern)
        if not is_one or not any(_covers(held, word, pattern) for held in maker.scopes):
            raise Forbidden(f"Nobody can give more than they have: {maker.name!r} has not the scope {scope[:80]!r}.")


def active_key_named(keys: Sequence[APIKey], name: str, now_s: float) -> APIKey | None:
    """The key of that name that works, if any."""
    return next((key for key in keys if key.name == name and key.state(now_s) == "active"), None)


def _covers(held: str, word: str, name: str) -> bool:
    held_word, _, pattern = held.partition(":")
    return held_word == word and fnmatchcase(name, pattern)


def _check_count(what: str, count: int | None, most: int) -> None:
    if count is not None and not 1 <= count <= most:
        raise InvalidKey(f"{what} is a number from 1 to {most}, or left out for no limit.")


def _random(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))
