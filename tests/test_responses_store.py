"""The store of responses and conversations, in a file and in memory."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from hayhooks.core.principal import ADMIN, ANONYMOUS, Principal
from hayhooks.core.responses import KeptConversation, KeptResponse
from hayhooks.store.responses import SQLiteResponses

Make = Callable[..., SQLiteResponses]
NOW_S = int(time.time())


ANNA, BEN = (Principal(f"key:{name}", name, "key", frozenset({"run"})) for name in ("anna", "ben"))
# A file of a release before callers were told apart.
BEFORE = f"""
CREATE TABLE responses (
    id TEXT PRIMARY KEY, status TEXT NOT NULL, created_s INTEGER NOT NULL, session TEXT NOT NULL,
    response BLOB NOT NULL, input BLOB NOT NULL, previous_id TEXT, conversation_id TEXT, is_background INTEGER NOT NULL,
    owner INTEGER NOT NULL, events BLOB NOT NULL, is_cancel_asked INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE response_items (
    id TEXT PRIMARY KEY, response_id TEXT NOT NULL REFERENCES responses (id) ON DELETE CASCADE
) STRICT;
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, created_s INTEGER NOT NULL, used_s INTEGER NOT NULL, metadata BLOB NOT NULL
) STRICT;
CREATE TABLE conversation_items (
    position INTEGER PRIMARY KEY, conversation_id TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    id TEXT NOT NULL, item BLOB NOT NULL
) STRICT;
INSERT INTO responses VALUES ('a', 'completed', {NOW_S}, 'a', CAST('{{"output":[]}}' AS BLOB), CAST('[]' AS BLOB), NULL,
    NULL, 0, 7, x'', 0);
INSERT INTO response_items VALUES ('item', 'a');
INSERT INTO conversations VALUES ('c', {NOW_S}, {NOW_S}, CAST('{{}}' AS BLOB));
INSERT INTO conversation_items VALUES (1, 'c', 'i', CAST('1' AS BLOB));
"""


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[SQLiteResponses] = []
    place: Path | Literal[":memory:"] = tmp_path / "responses.db" if request.param == "file" else ":memory:"

    def make(max_age_s: float = 3600, max_count: int = 100, max_bytes: int = 10**9) -> SQLiteResponses:
        made.append(SQLiteResponses(place, max_age_s=max_age_s, max_count=max_count, max_bytes=max_bytes))
        return made[-1]

    yield make
    for store in made:
        store.close()


def response(name: str, previous: str | None = None, status: str = "completed", created_s: int = NOW_S) -> KeptResponse:
    return KeptResponse(name, status, created_s, name, b'{"output":[]}', b"[]", previous, owner=7)


def sized(name: str, size: int, **more: Any) -> KeptResponse:
    return replace(response(name, **more), response=b"x" * (size - 2))


def test_what_is_put_is_got_until_it_is_deleted(make: Make) -> None:
    store = make()
    kept = replace(response("a"), events=b"event: x\n\n" * 100, is_background=True)
    store.of(ANONYMOUS).put(kept, ["item"])
    assert store.of(ANONYMOUS).get("a") == kept
    assert store.of(ANONYMOUS).having("item") == kept
    store.of(ANONYMOUS).put(replace(kept, status="failed"))
    assert store.of(ANONYMOUS).get("a") == replace(kept, status="failed")
    assert store.of(ANONYMOUS).delete("a")
    assert not store.of(ANONYMOUS).delete("a")
    assert store.of(ANONYMOUS).get("a") is None
    assert store.of(ANONYMOUS).having("item") is None
    store.of(ANONYMOUS).put(kept, is_new=False)  # what was deleted meanwhile does not come back
    assert store.of(ANONYMOUS).get("a") is None


def test_a_chain_is_read_from_its_first_response_as_far_as_it_is_kept(make: Make) -> None:
    store = make()
    for name, previous in (("a", None), ("b", "a"), ("c", "b"), ("other", "a")):
        store.of(ANONYMOUS).put(response(name, previous))
    assert [kept.id for kept in store.of(ANONYMOUS).chain("c")] == ["a", "b", "c"]
    store.of(ANONYMOUS).delete("a")
    assert [kept.id for kept in store.of(ANONYMOUS).chain("c")] == ["b", "c"]
    assert store.of(ANONYMOUS).chain("nope") == []


def test_what_is_too_old_or_too_much_goes_and_what_is_being_made_stays(make: Make) -> None:
    store = make(max_age_s=3600, max_count=3)
    store.of(ANONYMOUS).put(response("old", created_s=NOW_S - 7200))
    store.of(ANONYMOUS).put(response("slow", status="in_progress", created_s=NOW_S - 7200))
    for number in range(10):
        store.of(ANONYMOUS).put(response(f"new{number}", created_s=NOW_S + number))
    assert store.of(ANONYMOUS).get("old") is None
    assert store.of(ANONYMOUS).get("slow") is not None
    kept = [number for number in range(10) if store.of(ANONYMOUS).get(f"new{number}") is not None]
    assert kept[-1] == 9
    assert len(kept) <= 6


def test_of_what_is_too_many_bytes_the_oldest_goes(make: Make) -> None:
    store = make(max_bytes=350)
    anna, ben = store.of(ANNA), store.of(BEN)
    anna.put(sized("slow", 300, status="in_progress", created_s=NOW_S - 1))
    for number in range(8):
        (anna, ben)[number % 2].put(sized(f"new{number}", 100, created_s=NOW_S + number))
    assert [number for number in range(8) if store.of(ADMIN).get(f"new{number}")] == [5, 6, 7]
    assert anna.get("slow") is not None  # it is still being made
    ben.put(sized("large", 1000, created_s=NOW_S + 9))  # the newest, though it is too large alone
    assert ben.get("large") is not None
    assert ben.get("new7") is None
    ben.put(sized("large", 10, created_s=NOW_S + 9))
    ben.put(sized("more", 300, created_s=NOW_S + 10))
    assert [kept.id for kept in (ben.get("large"), ben.get("more")) if kept] == ["large", "more"]


def test_of_conversations_that_are_too_many_bytes_the_longest_unused_goes(make: Make) -> None:
    held = make(max_bytes=100).of(ANNA)
    for name in ("one", "two"):
        held.put_conversation(KeptConversation(name, NOW_S, b"{}"))
        held.append(name, [("i", b"x" * 40)])
    held.append("two", [("j", b"y" * 40), ("k", b"z" * 40)])  # it alone is too much
    assert held.conversation("one") is None
    assert held.items("two") == [b"y" * 40, b"z" * 40]
    held.delete_item("two", "j")
    held.put_conversation(KeptConversation("three", NOW_S, b"{}"))
    held.append("three", [("i", b"x" * 60)])
    assert held.items("two") == [b"z" * 40]  # what was deleted makes room


def test_what_a_process_left_unfinished_is_found(make: Make) -> None:
    store = make()
    assert store.orphans(lambda _: True) == []
    store.of(ANONYMOUS).put(response("done"))
    store.of(ANONYMOUS).put(response("open", status="in_progress"))
    assert [kept.id for kept in store.orphans(lambda owner: owner == 7)] == ["open"]
    assert store.orphans(lambda owner: owner != 7) == []


def test_a_process_learns_what_it_is_asked_to_cancel(make: Make) -> None:
    store = make()
    store.of(ANONYMOUS).put(response("a", status="in_progress"))
    store.of(ANONYMOUS).put(response("b", status="in_progress"))
    store.of(ANONYMOUS).ask_to_cancel("b")
    assert store.asked_to_cancel(7) == ["b"]
    assert store.asked_to_cancel(8) == []
    store.of(ANONYMOUS).put(response("b", status="cancelled"))
    assert store.asked_to_cancel(7) == []


def test_items_of_a_conversation_are_read_in_pages(make: Make) -> None:
    store = make(max_count=5)
    store.of(ANONYMOUS).append("c", [("i", b"lost")])  # there is no such conversation
    store.of(ANONYMOUS).put_conversation(KeptConversation("c", NOW_S, b"{}"))
    store.of(ANONYMOUS).append("c", [(f"i{number}", b"%d" % number) for number in range(8)])
    assert store.of(ANONYMOUS).items("c") == [b"3", b"4", b"5", b"6", b"7"]  # the oldest are too many
    assert store.of(ANONYMOUS).items("c", limit=2, order="desc") == [b"7", b"6"]
    assert store.of(ANONYMOUS).items("c", limit=2, order="desc", after="i6") == [b"5", b"4"]
    assert store.of(ANONYMOUS).items("c", after="i5") == [b"6", b"7"]
    assert store.of(ANONYMOUS).item("c", "i4") == b"4"
    assert store.of(ANONYMOUS).delete_item("c", "i4")
    assert not store.of(ANONYMOUS).delete_item("c", "i4")
    store.of(ANONYMOUS).put_conversation(KeptConversation("c", NOW_S, b'{"a":"b"}'))
    assert store.of(ANONYMOUS).conversation("c") == KeptConversation("c", NOW_S, b'{"a":"b"}')
    assert store.of(ANONYMOUS).delete_conversation("c")
    assert store.of(ANONYMOUS).items("c") == []


def test_a_file_that_is_no_database_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "responses.db").write_bytes(b"not a database at all, but long enough to be taken for one" * 20)
    store = SQLiteResponses(tmp_path / "responses.db", max_age_s=3600, max_count=10, max_bytes=10**9)
    with pytest.raises(OSError, match="cannot be opened"):
        store.of(ANONYMOUS).get("a")


def test_each_caller_has_their_own_and_an_admin_has_all(make: Make) -> None:
    store = make()
    anna, ben, admin = store.of(ANNA), store.of(BEN), store.of(ADMIN)
    # Their clients have chosen the same id for an item.
    anna.put(response("a"), ["item"])
    ben.put(response("b", "a"), ["item"])
    ben.put(response("slow", status="in_progress"))
    assert anna.get("b") is None
    assert anna.chain("b") == []
    assert [kept.id for kept in ben.chain("b")] == ["b"]  # as far as it is his
    assert [kept.id for kept in admin.chain("b")] == ["a", "b"]
    assert [held.having("item") for held in (anna, ben, store.of(ANONYMOUS))] == [
        response("a"), response("b", "a"), None,
    ]  # fmt: skip
    anna.ask_to_cancel("slow")
    assert store.asked_to_cancel(7) == []
    anna.put(replace(response("b"), status="failed"), is_new=False)
    assert not anna.delete("b")
    assert ben.get("b") == admin.get("b") == response("b", "a")
    admin.put(replace(response("b"), status="failed"), is_new=False)  # his all the same
    assert ben.get("b") == replace(response("b"), status="failed")
    assert admin.delete("b")
    assert ben.get("b") is None


def test_each_caller_has_their_own_conversations(make: Make) -> None:
    store = make()
    anna, ben, admin = store.of(ANNA), store.of(BEN), store.of(ADMIN)
    anna.put_conversation(KeptConversation("c", NOW_S, b"{}"))
    anna.append("c", [("i", b"1")])
    ben.append("c", [("j", b"2")])
    ben.put_conversation(KeptConversation("c", NOW_S, b'{"a":"b"}'))
    assert ben.conversation("c") is None
    assert ben.items("c") == []
    assert ben.items("c", after="i", order="desc") == []
    assert ben.item("c", "i") is None
    assert not ben.delete_item("c", "i")
    assert not ben.delete_conversation("c")
    admin.put_conversation(KeptConversation("c", NOW_S, b'{"by":"admin"}'))
    admin.append("c", [("k", b"3")])
    assert anna.conversation("c") == KeptConversation("c", NOW_S, b'{"by":"admin"}')
    assert anna.items("c") == admin.items("c") == [b"1", b"3"]
    assert admin.delete_conversation("c")


def test_what_a_release_that_knew_no_callers_has_kept_is_anonymous(tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "responses.db")
    database.executescript(BEFORE)
    database.close()
    for _ in range(2):
        store = SQLiteResponses(tmp_path / "responses.db", max_age_s=3600, max_count=10, max_bytes=10**9)
        kept = store.of(ANONYMOUS)
        assert kept.get("a") == kept.having("item") == response("a")
        assert kept.items("c") == [b"1"]
        assert sizes(tmp_path / "responses.db") == [15, 1]
        assert (store.of(ANNA).get("a"), store.of(ANNA).conversation("c")) == (None, None)
        store.close()


def sizes(path: Path) -> list[int]:
    database = sqlite3.connect(path)
    found = database.execute("SELECT size FROM responses UNION ALL SELECT size FROM conversations").fetchall()
    database.close()
    return [row[0] for row in found]


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    one, two = (
        SQLiteResponses(tmp_path / "responses.db", max_age_s=3600, max_count=10, max_bytes=10**9) for _ in range(2)
    )
    one.of(ANONYMOUS).put(response("a"))
    assert two.of(ANONYMOUS).get("a") == response("a")
    two.of(ANONYMOUS).delete("a")
    assert one.of(ANONYMOUS).get("a") is None
    one.close()
    two.close()
