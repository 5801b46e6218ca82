"""The conversation and the user that a request names."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from hayhooks.core.context import NO_SESSION, Session

# What Open WebUI sends when it is told to forward user information.
CHAT_HEADER = b"x-openwebui-chat-id"
USER_HEADER = b"x-openwebui-user-id"


def session_of(scope: Scope, body: Mapping[str, Any] | None = None) -> Session:
    """The session that a request belongs to.

    Its id is the body's ``conversation`` (an id, or an object with one), else Open WebUI's chat. The user is the
    body's ``user`` or, as newer OpenAI clients say it, ``safety_identifier``, else Open WebUI's.
    """
    chat = reader = None
    for name, value in scope["headers"]:
        if name == CHAT_HEADER:
            chat = chat or value.decode("latin-1")
        elif name == USER_HEADER:
            reader = reader or value.decode("latin-1")
    if not body:
        return Session(chat or None, reader or None) if chat or reader else NO_SESSION
    conversation = body.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    session = _text(conversation) or chat or _text(metadata.get("chat_id"))
    user = _text(body.get("user")) or _text(body.get("safety_identifier")) or reader
    if session is None and user is None and not metadata:
        return NO_SESSION
    return Session(session, user, metadata)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
