"""What was said before: the turn that a request begins, and keeping it."""

import asyncio
import json
import os
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

import msgspec

from hayhooks.core.context import Session
from hayhooks.core.principal import ADMIN, Principal
from hayhooks.core.responses import ENDED, HeldResponses, KeptResponse, ResponseStore
from hayhooks.surfaces._json import json_bytes
from hayhooks.surfaces.openai.errors import Refused
from hayhooks.surfaces.openai.responses_items import items_of, with_ids
from hayhooks.surfaces.openai.responses_object import failed

P = ParamSpec("P")
T = TypeVar("T")
INTERRUPTED = {"type": "server_error", "message": "The server stopped before the response was complete."}


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """One request and what came before it."""

    id: str  # of the response
    session: Session
    items: list[dict[str, Any]]  # of the request, each with an id
    history: list[dict[str, Any]]  # of the responses or the conversation before
    previous_id: str | None
    conversation_id: str | None
    is_stored: bool
    is_background: bool
    created_s: int
    held: HeldResponses  # by its caller

    @property
    def leaves_a_trace(self) -> bool:
        """Whether anything of it is kept."""
        return self.is_stored or self.conversation_id is not None


class Memory:
    """A store of responses, asked from the event loop: its calls are made one after the other, in one thread."""

    def __init__(self, store: ResponseStore, on_error: Callable[[str, BaseException], None]) -> None:
        self.store = store
        self._on_error = on_error
        self._thread = ThreadPoolExecutor(1, "hayhooks-responses")

    async def ask(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a method of the store gives."""
        return await asyncio.wrap_future(self._thread.submit(method, *args, **kwargs))

    async def turn(self, body: Mapping[str, Any], session: Session, caller: Principal) -> Turn:
        """The turn that *body* begins, among what *caller* holds.

        Raises:
            Refused: It refers to something that is not there.
        """
        held = self.store.of(caller)
        response_id = f"resp_{uuid.uuid4().hex}"
        previous_id = body.get("previous_response_id")
        conversation = body.get("conversation")
        conversation_id = conversation["id"] if isinstance(conversation, dict) else conversation
        history: list[dict[str, Any]] = []
        if previous_id is not None:
            chain = await self.ask(held.chain, previous_id)
            if not chain:
                raise Refused(
                    400, f"Previous response with id '{previous_id[:80]}' not found.", "previous_response_not_found",
                    "previous_response_id",
                )  # fmt: skip
            if not chain[-1].has_ended:
                message = f"Previous response '{previous_id[:80]}' is still being made."
                raise Refused(400, message, "previous_response_not_ended", "previous_response_id")
            history = [item for kept in chain for item in _said(kept)]
            session = replace(session, id=session.id or chain[-1].session)
        elif conversation_id is not None:
            if await self.ask(held.conversation, conversation_id) is None:
                raise conversation_not_found(conversation_id)
            history = [
                msgspec.json.decode(item) for item in await self.ask(held.items, conversation_id)
            ]  # fmt: skip
        if session.id is None and body["store"]:
            session = replace(session, id=response_id)
        items = with_ids(await self._resolved(items_of(body.get("input")), history, held))
        return Turn(
            response_id, session, items, history, previous_id, conversation_id, body["store"], body["background"],
            int(time.time()), held,
        )  # fmt: skip

    async def keep(self, turn: Turn, response: dict[str, Any], events: bytes = b"", *, is_new: bool) -> dict[str, Any]:
        """Keep *response* as far as the request wants it kept, and return it, or a form that says it was not kept."""
        if not turn.leaves_a_trace:
            return response
        try:
            await asyncio.wrap_future(self._submit(turn, response, events, is_new))
        except OSError as error:
            self._on_error(f"Response {turn.id} could not be kept", error)
            return {**response, "store": False}
        return response

    def keep_soon(self, turn: Turn, response: dict[str, Any], events: bytes = b"", *, is_new: bool) -> None:
        """Keep *response* without waiting for it; later calls find it kept."""
        if not turn.leaves_a_trace:
            return
        future = self._submit(turn, response, events, is_new)
        future.add_done_callback(lambda done: self._on_kept(turn.id, done))

    def close(self) -> None:
        """Finish what was asked for and end the thread."""
        self._thread.shutdown()

    def _submit(self, turn: Turn, response: dict[str, Any], events: bytes, is_new: bool) -> "Future[None]":
        return self._thread.submit(self._write, turn, response, events, is_new)

    def _write(self, turn: Turn, response: dict[str, Any], events: bytes, is_new: bool) -> None:
        status = response["status"]
        if turn.conversation_id is not None and status in ("completed", "incomplete"):
            said = [(item["id"], json_bytes(item)) for item in [*turn.items, *response["output"]]]
            turn.held.append(turn.conversation_id, said)
        if not turn.is_stored:
            return
        kept = KeptResponse(
            turn.id, status, turn.created_s, turn.session.id or turn.id, json_bytes(response), json_bytes(turn.items),
            turn.previous_id, turn.conversation_id, turn.is_background, os.getpid(), events,
        )  # fmt: skip
        items = [*turn.items, *response["output"]] if status in ENDED else []
        turn.held.put(kept, [item["id"] for item in items], is_new=is_new)

    def _on_kept(self, response_id: str, done: "Future[None]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._on_error(f"Response {response_id} could not be kept", error)

    async def _resolved(
        self, items: list[dict[str, Any]], history: list[dict[str, Any]], held: HeldResponses
    ) -> list[dict[str, Any]]:
        """*items* with references replaced by what they refer to."""
        if all(item["type"] != "item_reference" for item in items):
            return items
        known = {item.get("id"): item for item in history}
        found = []
        for item in items:
            if item["type"] == "item_reference":
                if item["id"] not in known:
                    kept = await self.ask(held.having, item["id"])
                    known |= {one.get("id"): one for one in (_said(kept) if kept is not None else ())}
                if item["id"] not in known:
                    raise Refused(404, f"Item with id '{item['id'][:80]}' not found.", "item_not_found", "input")
                item = known[item["id"]]
            found.append(item)
        return found


def fail_orphans(store: ResponseStore, is_gone: Callable[[int], bool]) -> None:
    """Mark as failed what processes that are gone have left unfinished. Blocks. Raises OSError."""
    held = store.of(ADMIN)  # whosesoever they are
    for kept in store.orphans(is_gone):
        response = failed(msgspec.json.decode(kept.response), (), INTERRUPTED)
        held.put(replace(kept, status="failed", response=json_bytes(response)), is_new=False)


def conversation_not_found(conversation_id: str) -> Refused:
    """The error for a conversation that is not kept."""
    return Refused(
        404, f"Conversation with id '{conversation_id[:80]}' not found.", "conversation_not_found", "conversation_id"
    )


def _said(kept: KeptResponse) -> list[dict[str, Any]]:
    """What a response adds to the items of the next: its own input and its output."""
    output: list[dict[str, Any]] = json.loads(kept.response)["output"]
    given: list[dict[str, Any]] = json.loads(kept.input)
    return [*given, *output]
