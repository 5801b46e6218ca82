"""OpenAI conversations: items that responses are added to.

Source: OpenAI API reference, "Conversations".
"""

import time
import uuid
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.types import Receive, Scope, Send

from hayhooks.core.errors import HayhooksError
from hayhooks.core.responses import HeldResponses, KeptConversation
from hayhooks.surfaces._http import (
    HTTPOptions,
    MethodNotAllowed,
    caller_of,
    header,
    read_body,
    require,
    require_json,
    route_path,
    send_json,
)
from hayhooks.surfaces._json import invalid, json_bytes, json_object
from hayhooks.surfaces.openai.errors import Refused, error_answer
from hayhooks.surfaces.openai.paging import list_object, no_such_item, page_of
from hayhooks.surfaces.openai.responses_body import check_items, check_metadata
from hayhooks.surfaces.openai.responses_items import items_of, listed, with_ids
from hayhooks.surfaces.openai.responses_state import Memory, conversation_not_found

MAX_ITEMS = 20  # in one request; Source: OpenAI API reference, "Create a conversation"


class Conversations:
    """Answers everything below ``/conversations``."""

    def __init__(self, memory: Memory, options: HTTPOptions) -> None:
        self._memory = memory
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            _, _, rest = route_path(scope).partition("/conversations")
            parts = [unquote(part) for part in rest.strip("/").split("/")] if rest else []
            await send_json(send, 200, await self._answer(parts, scope, receive))
        except (HayhooksError, MethodNotAllowed) as error:
            status, answer, headers = error_answer(error, show_tracebacks=self._options.show_tracebacks)
            await send_json(send, status, answer, headers)

    async def _answer(self, parts: list[str], scope: Scope, receive: Receive) -> dict[str, Any]:
        method = scope["method"]
        held = self._memory.store.of(caller_of(scope))
        match parts:
            case []:
                require(scope, "POST")
                return await self._create(held, await self._body(scope, receive))
            case [conversation_id]:
                require(scope, "GET", "HEAD", "POST", "DELETE")
                conversation = await self._kept(held, conversation_id)
                if method == "DELETE":
                    await self._memory.ask(held.delete_conversation, conversation_id)
                    return {"id": conversation_id, "object": "conversation.deleted", "deleted": True}
                if method == "POST":
                    return await self._update(held, conversation, await self._body(scope, receive))
                return _object(conversation)
            case [conversation_id, "items"]:
                require(scope, "GET", "HEAD", "POST")
                await self._kept(held, conversation_id)
                if method == "POST":
                    return await self._add(held, conversation_id, await self._body(scope, receive))
                return await self._list(held, conversation_id, scope)
            case [conversation_id, "items", item]:
                require(scope, "GET", "HEAD", "DELETE")
                conversation = await self._kept(held, conversation_id)
                return await self._one(held, conversation, item, is_deleting=method == "DELETE")
        raise Refused(404, f"Unknown path {scope['path'][:200]!r}.", "unknown_url")

    async def _body(self, scope: Scope, receive: Receive) -> dict[str, Any]:
        require_json(header(scope, b"content-type"))
        body = json_object(await read_body(scope, receive, self._options.max_body_bytes) or b"{}")
        check_metadata(body)
        items = body.get("items")
        if items is not None:
            if not isinstance(items, list) or len(items) > MAX_ITEMS:
                raise invalid("items", f"'items' must be a list of at most {MAX_ITEMS} items.")
            check_items("items", items)
        return body

    async def _create(self, held: HeldResponses, body: dict[str, Any]) -> dict[str, Any]:
        metadata = json_bytes(body.get("metadata") or {})
        conversation = KeptConversation(f"conv_{uuid.uuid4().hex}", int(time.time()), metadata)
        await self._memory.ask(held.put_conversation, conversation)
        if body.get("items"):
            await self._memory.ask(held.append, conversation.id, _encoded(with_ids(items_of(body["items"]))))
        return _object(conversation)

    async def _update(
        self, held: HeldResponses, conversation: KeptConversation, body: dict[str, Any]
    ) -> dict[str, Any]:
        if "metadata" not in body:
            raise invalid("metadata", "'metadata' must be an object whose values are text.")
        metadata = json_bytes(body["metadata"] or {})
        changed = KeptConversation(conversation.id, conversation.created_s, metadata)
        await self._memory.ask(held.put_conversation, changed)
        return _object(changed)

    async def _add(self, held: HeldResponses, conversation_id: str, body: dict[str, Any]) -> dict[str, Any]:
        if not body.get("items"):
            raise invalid("items", "'items' must be a list of at least one item.")
        items = with_ids(items_of(body["items"]))
        await self._memory.ask(held.append, conversation_id, _encoded(items))
        return list_object([listed(item) for item in items], len(items))

    async def _list(self, held: HeldResponses, conversation_id: str, scope: Scope) -> dict[str, Any]:
        page = page_of(scope)
        if page.after is not None and await self._memory.ask(held.item, conversation_id, page.after) is None:
            raise no_such_item(page.after)
        found = await self._memory.ask(
            held.items, conversation_id, limit=page.limit + 1, order=page.order, after=page.after
        )
        return list_object([listed(msgspec.json.decode(item)) for item in found], page.limit)

    async def _one(
        self, held: HeldResponses, conversation: KeptConversation, item_id: str, *, is_deleting: bool
    ) -> dict[str, Any]:
        item = await self._memory.ask(held.item, conversation.id, item_id)
        if item is None:
            raise Refused(404, f"Item with id '{item_id[:80]}' not found.", "item_not_found", "item_id")
        if is_deleting:
            await self._memory.ask(held.delete_item, conversation.id, item_id)
            return _object(conversation)
        return listed(msgspec.json.decode(item))

    async def _kept(self, held: HeldResponses, conversation_id: str) -> KeptConversation:
        conversation = await self._memory.ask(held.conversation, conversation_id)
        if conversation is None:
            raise conversation_not_found(conversation_id)
        return conversation


def _encoded(items: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    return [(item["id"], json_bytes(item)) for item in items]


def _object(conversation: KeptConversation) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created_s,
        "metadata": msgspec.json.decode(conversation.metadata),
    }
