"""API keys: their form, the store of them, and what a request's headers prove."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hayhooks.core.errors import Forbidden, InvalidKey, KeyNameTaken, KeyNotFound, Unauthorized, Unavailable
from hayhooks.core.keys import APIKey, check_gift, id_in, new_key
from hayhooks.core.principal import ADMIN, ANONYMOUS, CallerLimits, Principal
from hayhooks.server.identities import Identities
from hayhooks.store.disk import StoreFailed
from hayhooks.store.keys import SQLiteKeys

NOW_S = 1_800_000_000.0
HEADERS = [(b"host", b"localhost"), (b"accept", b"*/*")]


def made(name: str = "ci", scopes: tuple[str, ...] = ("run",), **more: Any) -> tuple[APIKey, str]:
    return new_key(name, scopes, **{"created_by": "admin", "now_s": NOW_S, **more})


def bearer(text: str) -> list[tuple[bytes, bytes]]:
    return [*HEADERS, (b"authorization", b"Bearer " + text.encode())]


async def calling(identities: Identities, text: str) -> None:
    """Go on calling until the key is refused, for ten seconds at most."""
    end_s = time.monotonic() + 10
    while time.monotonic() < end_s:
        await identities.find(bearer(text))


class Clock:
    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteKeys]:
    store = SQLiteKeys(path)
    yield store
    store.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identities(store: SQLiteKeys, clock: Clock) -> Identities:
    return Identities(store, "the admin's", clock=clock)


def test_a_key_is_an_id_and_a_long_secret_of_which_only_a_digest_is_known() -> None:
    key, text = made()
    assert re.fullmatch(r"hay_[a-z2-7]{12}_[A-Za-z0-9]{40}", text)
    assert id_in(text.encode()) == key.id.encode()
    assert key.is_opened_by(text.encode())
    assert text[-40:] not in repr(key)
    assert key.digest.hex() not in repr(key)
    assert len({made()[1] for _ in range(100)}) == 100


@pytest.mark.parametrize("place", [0, 4, 15, 16, 17, 56])
def test_a_key_with_one_character_changed_opens_nothing(place: int) -> None:
    key, text = made()
    wrong = text[:place] + ("x" if text[place] != "x" else "y") + text[place + 1 :]
    assert not key.is_opened_by(wrong.encode())
    for cut in (text[:-1], text + "x", text[:16], ""):
        assert not key.is_opened_by(cut.encode())


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "1 to 64"),
        ({"name": "x" * 65}, "1 to 64"),
        ({"name": "two\nlines"}, "printable"),
        ({"name": " led"}, "no space"),
        ({"scopes": ()}, "may do nothing"),
        ({"scopes": ("run:",)}, "is no scope"),
        ({"scopes": ("admin:x",)}, "only run, read and deploy"),
        ({"scopes": tuple(f"s{number}" for number in range(101))}, "at most 100"),
        ({"expires_s": NOW_S}, "in the future"),
        ({"expires_s": 1e18}, "year 10000"),
        ({"expires_s": float("nan")}, "in the future"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"requests_per_minute": 10**9}, "requests_per_minute"),
        ({"max_concurrent_runs": -1}, "max_concurrent_runs"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidKey, match=said):
        made(**wrong)


def test_a_key_works_until_it_expires_or_is_revoked() -> None:
    key, _ = made(expires_s=NOW_S + 60)
    assert [key.state(NOW_S), key.state(NOW_S + 59), key.state(NOW_S + 60)] == ["active", "active", "expired"]
    assert made()[0].state(NOW_S * 2) == "active"


def test_its_holder_has_its_scopes_and_limits() -> None:
    key, _ = made(scopes=("run:rag-*",), requests_per_minute=60, max_concurrent_runs=4)
    assert key.principal.id == f"key:{key.id}"
    assert key.principal.limits == CallerLimits(60, 4)
    assert key.principal.may("run", "rag-1")
    assert not key.principal.may("run", "other")
    assert made()[0].principal.limits is None  # nothing to count, nothing is asked


@pytest.mark.parametrize(
    ("held", "given", "is_allowed"),
    [
        ("admin", "admin", True),
        ("admin", "run", True),
        ("run", "run", True),
        ("run", "run:a", True),
        ("run", "run:*", True),
        ("run:*", "run:a", True),
        ("run:a*", "run:ab", True),
        ("run:a*", "run:a*", True),
        ("finance", "finance", True),
        ("run", "admin", False),
        ("run", "deploy", False),
        ("run:a*", "run", False),
        ("run:a*", "run:b", False),
        ("run:a*", "run:*", False),
        ("run:a", "deploy:a", False),
    ],
)
def test_nobody_gives_more_than_they_have(held: str, given: str, is_allowed: bool) -> None:
    maker = Principal("key:x", "maker", "key", frozenset({held}))
    if is_allowed:
        check_gift(maker, [given])
    else:
        with pytest.raises(Forbidden, match=r"than they have"):
            check_gift(maker, [given])


class TestStore:
    def test_what_was_added_is_there_for_every_process(self, store: SQLiteKeys, path: Path) -> None:
        full, _ = made(expires_s=NOW_S + 9, requests_per_minute=3, max_concurrent_runs=2, scopes=("run", "read:a*"))
        plain, _ = made("other")
        store.add(full)
        store.add(plain)
        other = SQLiteKeys(path)
        assert other.all() == store.all() == [full, plain]
        other.close()

    def test_of_the_keys_that_work_each_has_a_name_of_its_own(self, store: SQLiteKeys) -> None:
        first, _ = made(expires_s=NOW_S + 10)
        store.add(first)
        with pytest.raises(KeyNameTaken):
            store.add(made()[0])
        store.add(made(now_s=NOW_S + 10)[0])  # the first has expired
        with pytest.raises(KeyNameTaken):
            store.add(made(now_s=NOW_S + 11)[0])
        store.revoke(store.all()[1].id, int(NOW_S))
        store.add(made(now_s=NOW_S + 11)[0])
        assert len(store.all()) == 3

    def test_revoking_keeps_the_row_and_the_time_of_the_first(self, store: SQLiteKeys) -> None:
        key, _ = made()
        store.add(key)
        assert store.revoke(key.id, 5).revoked_s == 5
        assert store.revoke(key.id, 6).revoked_s == 5
        assert [found.state(0) for found in store.all()] == ["revoked"]
        with pytest.raises(KeyNotFound):
            store.revoke("nobody", 5)

    def test_the_counter_tells_of_changes_by_whomever(self, store: SQLiteKeys, path: Path) -> None:
        other = SQLiteKeys(path)
        for changer in (store, other):
            before = store.counter()
            changer.add(made(f"by {changer is store}")[0])
            assert store.counter() != before
        assert store.counter() == store.counter()
        other.close()

    def test_a_store_that_is_no_database_says_so(self, path: Path) -> None:
        path.write_bytes(b"not a database, but long enough to be taken for one" * 99)
        with pytest.raises(OSError, match="cannot be opened"):
            SQLiteKeys(path)

    def test_the_secret_is_nowhere_on_disk(self, store: SQLiteKeys, path: Path) -> None:
        key, text = made()
        store.add(key)
        files = [file.read_bytes() for file in path.parent.iterdir()]
        assert any(key.id.encode() in content for content in files)
        assert not any(text[-40:].encode() in content for content in files)


class TestIdentities:
    async def test_no_credential_is_anonymous_and_so_is_one_of_nobodys_form(self, identities: Identities) -> None:
        for more in (
            [],
            [(b"authorization", b"Bearer sk-anything")],
            [(b"authorization", b"Basic aGF5X2FiYzp4")],
            [(b"authorization", b"Bearer")],
            [(b"authorization", b"")],
            [(b"x-api-key", b"")],
            [(b"x-api-key", b"\xff\xfe")],
            [(b"x-api-key", b"one"), (b"authorization", b"Bearer other")],
            [(b"authorization", b"Bearer eyJhbGciOiJub25lIn0.e30.")],
        ):
            assert identities.known([*HEADERS, *more]) is ANONYMOUS

    @pytest.mark.parametrize("kind", [b"Bearer ", b"bearer ", b"BEARER  "])
    async def test_a_key_is_taken_from_either_header(
        self, identities: Identities, store: SQLiteKeys, kind: bytes
    ) -> None:
        key, text = made()
        store.add(key)
        assert await identities.find([(b"authorization", kind + text.encode())]) == key.principal
        assert identities.known([(b"x-api-key", text.encode())]) == key.principal
        assert identities.known([(b"authorization", kind + b"the admin's")]) is ADMIN
        assert identities.known([(b"x-api-key", b"the admin's")]) is ADMIN

    async def test_the_admin_key_may_look_like_one_of_ours(self, store: SQLiteKeys) -> None:
        _, text = made()
        identities = Identities(store, text)
        assert await identities.find(bearer(text)) is ADMIN
        with pytest.raises(Unauthorized):
            await identities.find(bearer(made()[1]))

    async def test_a_key_of_our_form_that_does_not_count_is_refused(
        self, identities: Identities, store: SQLiteKeys, clock: Clock
    ) -> None:
        key, text = made(expires_s=NOW_S + 60)
        store.add(key)
        for wrong in (made()[1], text[:-1], text + "x", text[:20], "hay_", f"hay_{key.id}_"):
            with pytest.raises(Unauthorized, match="not known here") as refused:
                await identities.find(bearer(wrong))
            assert wrong == "hay_" or wrong not in str(refused.value)
        assert await identities.find(bearer(text)) == key.principal
        clock.now_s += 60
        with pytest.raises(Unauthorized, match="'ci' has expired"):
            identities.known(bearer(text))
        clock.now_s -= 60
        store.revoke(key.id, int(NOW_S))
        with pytest.raises(Unauthorized, match="'ci' has been revoked"):
            await identities.find(bearer(text))

    async def test_two_different_keys_are_refused_unless_one_is_of_nobodys_form(
        self, identities: Identities, store: SQLiteKeys
    ) -> None:
        key, text = made()
        store.add(key)
        ours, admin, dummy = (value.encode() for value in (text, "the admin's", "sk-anything"))
        for first, second in [(ours, admin), (admin, ours), (ours, made()[1].encode())]:
            with pytest.raises(Unauthorized, match="two different keys"):
                await identities.find([(b"authorization", b"Bearer " + first), (b"x-api-key", second)])
        for first, second in [(ours, dummy), (dummy, ours), (ours, ours)]:
            both = [(b"authorization", b"Bearer " + first), (b"x-api-key", second)]
            assert await identities.find(both) == key.principal
        assert await identities.find([(b"x-api-key", dummy), (b"x-api-key", admin)]) is ADMIN

    async def test_a_new_key_of_another_process_counts_at_once_and_a_revoked_one_soon_no_more(
        self, identities: Identities, path: Path
    ) -> None:
        other = SQLiteKeys(path)
        for number in range(3):
            key, text = made(f"key {number}")
            other.add(key)
            assert await identities.find(bearer(text)) == key.principal
        other.revoke(key.id, int(NOW_S))
        with pytest.raises(Unauthorized, match="revoked"):
            await calling(identities, text)
        other.close()

    async def test_a_revoked_key_is_refused_at_once_where_it_was_revoked(
        self, identities: Identities, store: SQLiteKeys
    ) -> None:
        key, text = made()
        store.add(key)
        await identities.find(bearer(text))
        store.revoke(key.id, int(NOW_S))
        with pytest.raises(Unauthorized, match="revoked"):
            await identities.find(bearer(text))

    async def test_while_the_store_cannot_be_read_what_is_known_counts_and_the_log_says_so_once(
        self, store: SQLiteKeys, clock: Clock
    ) -> None:
        told: list[str] = []
        broken = Breakable(store)
        identities = Identities(broken, "the admin's", clock=clock, on_error=lambda what, _: told.append(what))
        key, text = made()
        store.add(key)
        broken.is_broken = True
        with pytest.raises(Unavailable):
            await identities.find(bearer(text))
        assert identities.known(bearer("the admin's")) is ADMIN
        broken.is_broken = False
        while True:  # it is not asked again and again
            try:
                assert await identities.find(bearer(text)) == key.principal
                break
            except Unavailable:
                continue
        broken.is_broken = True
        store.add(made("another")[0])
        for _ in range(50):
            assert await identities.find(bearer(text)) == key.principal
        assert told == ["Keys cannot be read; those known so far go on counting"] * 2


class Breakable:
    """A store whose disk can fail."""

    def __init__(self, store: SQLiteKeys) -> None:
        self._store = store
        self.is_broken = False

    @property
    def own_changes(self) -> int:
        return self._store.own_changes

    def counter(self) -> int:
        if self.is_broken:
            raise OSError("broken")
        return self._store.counter()

    def all(self) -> list[APIKey]:
        if self.is_broken:
            raise StoreFailed("broken")
        return self._store.all()

    def add(self, key: APIKey) -> None:
        self._store.add(key)

    def revoke(self, key_id: str, now_s: int) -> APIKey:
        return self._store.revoke(key_id, now_s)


KILLED = """
import os, sys, signal
from pathlib import Path
from hayhooks.core.keys import new_key
from hayhooks.store.keys import SQLiteKeys
key, text = new_key("ci", ["run"], created_by="admin", now_s=1)
SQLiteKeys(Path(sys.argv[1])).add(key)
os.write(1, text.encode())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_key_that_was_added_survives_a_kill(path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path)], capture_output=True, check=False)
    assert killed.returncode == -9
    store = SQLiteKeys(path)
    [key] = store.all()
    store.close()
    assert key.is_opened_by(killed.stdout)
