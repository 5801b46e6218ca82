"""API keys in a state directory, without the server: for owners who have locked themselves out.

The one place where a client command opens what is the server's. It loads neither Haystack nor FastAPI.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hayhooks.client.keys import CreatedKey, KeyInfo, key_info
from hayhooks.core.errors import HayhooksError
from hayhooks.core.keys import new_key
from hayhooks.store.keys import SQLiteKeys


class NoKeys(Exception):
    """The directory holds no keys, or they cannot be changed like that; the message says why."""


class LocalKeys:
    """The keys of a store, as a client gives them."""

    def __init__(self, store: SQLiteKeys) -> None:
        self._store = store

    @classmethod
    @contextmanager
    def opened(cls, state_dir: Path) -> Iterator["LocalKeys"]:
        """Those in *state_dir*. Raises NoKeys, also for what is refused inside the block."""
        path = state_dir / "state.db"
        if not path.is_file():  # otherwise a mistyped directory would get a database that nobody reads
            raise NoKeys(f"{state_dir} is no server's state directory: it has no state.db. The server makes it.")
        try:
            store = SQLiteKeys(path)
        except OSError as error:
            raise NoKeys(str(error)) from error
        try:
            yield cls(store)
        except HayhooksError as error:
            raise NoKeys(str(error)) from error
        finally:
            store.close()

    def list_keys(self) -> Sequence[KeyInfo]:
        """All keys."""
        now_s = time.time()
        return [key_info(key.described(now_s)) for key in self._store.all()]

    def create_key(
        self,
        name: str,
        scopes: Sequence[str],
        *,
        expires_in_s: float | None = None,
        requests_per_minute: int | None = None,
        max_concurrent_runs: int | None = None,
    ) -> CreatedKey:
        """Make a key."""
        now_s = time.time()
        key, text = new_key(
            name,
            scopes,
            created_by="local",
            now_s=now_s,
            expires_s=None if expires_in_s is None else now_s + expires_in_s,
            requests_per_minute=requests_per_minute,
            max_concurrent_runs=max_concurrent_runs,
        )
        self._store.add(key)
        return CreatedKey(key_info(key.described(now_s)), text)

    def revoke_key(self, key_id: str) -> KeyInfo:
        """Revoke a key."""
        now_s = time.time()
        return key_info(self._store.revoke(key_id, int(now_s)).described(now_s))
