"""The store of responses and conversations, in a file and in memory."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest

from hayhooks.core.responses import KeptConversation, KeptResponse
from hayhooks.store.responses import SQLiteResponses

Make = Callable[..., SQLiteResponses]
NOW_S = int(time.time())


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    made: list[SQLiteResponses] = []
    place: Path | Literal[":memory:"] = tmp_path / "responses.db" if request.param == "file" else ":memory:"

    def make(max_age_s: float = 3600, max_count: int = 100) -> SQLiteResponses:
        made.append(SQLiteResponses(place, max_age_s=max_age_s, max_count=max_count))
        return made[-1]

    yield make
    for store in made:
        store.close()


def response(name: str, previous: str | None = None, status: str = "completed", created_s: int = NOW_S) -> KeptResponse:
    return KeptResponse(name, status, created_s, name, b'{"output":[]}', b"[]", previous, owner=7)


def test_what_is_put_is_got_until_it_is_deleted(make: Make) -> None:
    store = make()
    kept = replace(response("a"), events=b"event: x\n\n" * 100, is_background=True)
    store.put(kept, ["item"])
    assert store.get("a") == kept
    assert store.holder("item") == kept
    store.put(replace(kept, status="failed"))
    assert store.get("a") == replace(kept, status="failed")
    assert store.delete("a")
    assert not store.delete("a")
    assert store.get("a") is None
    assert store.holder("item") is None
    store.put(kept, is_new=False)  # what was deleted meanwhile does not come back
    assert store.get("a") is None


def test_a_chain_is_read_from_its_first_response_as_far_as_it_is_kept(make: Make) -> None:
    store = make()
    for name, previous in (("a", None), ("b", "a"), ("c", "b"), ("other", "a")):
        store.put(response(name, previous))
    assert [kept.id for kept in store.chain("c")] == ["a", "b", "c"]
    store.delete("a")
    assert [kept.id for kept in store.chain("c")] == ["b", "c"]
    assert store.chain("nope") == []


def test_what_is_too_old_or_too_much_goes_and_what_is_being_made_stays(make: Make) -> None:
    store = make(max_age_s=3600, max_count=3)
    store.put(response("old", created_s=NOW_S - 7200))
    store.put(response("slow", status="in_progress", created_s=NOW_S - 7200))
    for number in range(10):
        store.put(response(f"new{number}", created_s=NOW_S + number))
    assert store.get("old") is None
    assert store.get("slow") is not None
    kept = [number for number in range(10) if store.get(f"new{number}") is not None]
    assert kept[-1] == 9
    assert len(kept) <= 6


def test_what_a_process_left_unfinished_is_found(make: Make) -> None:
    store = make()
    assert store.orphans(lambda _: True) == []
    store.put(response("done"))
    store.put(response("open", status="in_progress"))
    assert [kept.id for kept in store.orphans(lambda owner: owner == 7)] == ["open"]
    assert store.orphans(lambda owner: owner != 7) == []


def test_a_process_learns_what_it_is_asked_to_cancel(make: Make) -> None:
    store = make()
    store.put(response("a", status="in_progress"))
    store.put(response("b", status="in_progress"))
    store.ask_to_cancel("b")
    assert store.asked_to_cancel(7) == ["b"]
    assert store.asked_to_cancel(8) == []
    store.put(response("b", status="cancelled"))
    assert store.asked_to_cancel(7) == []


def test_items_of_a_conversation_are_read_in_pages(make: Make) -> None:
    store = make(max_count=5)
    store.append("c", [("i", b"lost")])  # there is no such conversation
    store.put_conversation(KeptConversation("c", NOW_S, b"{}"))
    store.append("c", [(f"i{number}", b"%d" % number) for number in range(8)])
    assert store.items("c") == [b"3", b"4", b"5", b"6", b"7"]  # the oldest are too many
    assert store.items("c", limit=2, order="desc") == [b"7", b"6"]
    assert store.items("c", limit=2, order="desc", after="i6") == [b"5", b"4"]
    assert store.items("c", after="i5") == [b"6", b"7"]
    assert store.item("c", "i4") == b"4"
    assert store.delete_item("c", "i4")
    assert not store.delete_item("c", "i4")
    store.put_conversation(KeptConversation("c", NOW_S, b'{"a":"b"}'))
    assert store.conversation("c") == KeptConversation("c", NOW_S, b'{"a":"b"}')
    assert store.delete_conversation("c")
    assert store.items("c") == []


def test_a_file_that_is_no_database_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "responses.db").write_bytes(b"not a database at all, but long enough to be taken for one" * 20)
    store = SQLiteResponses(tmp_path / "responses.db", max_age_s=3600, max_count=10)
    with pytest.raises(OSError, match="cannot be opened"):
        store.get("a")


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    one, two = (SQLiteResponses(tmp_path / "responses.db", max_age_s=3600, max_count=10) for _ in range(2))
    one.put(response("a"))
    assert two.get("a") == response("a")
    two.delete("a")
    assert one.get("a") is None
    one.close()
    two.close()
