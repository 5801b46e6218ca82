"""Checks against protocols say the same with and without their members being remembered."""

import gc
import typing
import weakref
from typing import Any, Protocol, runtime_checkable

from hayhooks.core.haystack.protocols import _remembering, remember_protocols


def members_of(cls: type) -> set[str]:
    return {name for name in vars(cls) if not name.startswith("_")}


def test_members_are_gathered_once_and_forgotten_with_their_class() -> None:
    asked: list[str] = []

    def gather(cls: type) -> set[str]:
        asked.append(cls.__name__)
        return members_of(cls)

    remembered = _remembering(gather)

    class Speaks:
        def speak(self) -> None: ...

    for _ in range(2):
        assert remembered(Speaks) == {"speak"}
    assert asked == ["Speaks"]
    gone = weakref.ref(Speaks)
    del Speaks
    gc.collect()
    assert gone() is None


def test_checks_still_hold_and_it_is_done_once() -> None:
    before: Any = getattr(typing, "_get_protocol_attrs", None)
    remember_protocols()
    remembering: Any = getattr(typing, "_get_protocol_attrs", None)
    try:
        remember_protocols()
        assert getattr(typing, "_get_protocol_attrs", None) is remembering

        @runtime_checkable
        class Speaks(Protocol):
            name: str

            def speak(self) -> str: ...

        class Dog:
            name = "dog"

            def speak(self) -> str:
                return "wuff"

        class Stone:
            name = "stone"

        for _ in range(2):
            assert isinstance(Dog(), Speaks)
            assert not isinstance(Stone(), Speaks)
    finally:
        if before is not None:
            typing._get_protocol_attrs = before  # type: ignore[attr-defined]
