"""The conversation and the user that a request names."""

from collections.abc import Mapping
from typing import Any

from starlette.types import Scope

from hayhooks.core.context import NO_SESSION, Session
from hayhooks.surfaces._http import header

# What Open WebUI sends when it is told to forward user information.
CHAT_HEADER = b"x-openwebui-chat-id"
USER_HEADER = b"x-openwebui-user-id"


def session_of(scope: Scope, body: Mapping[str, Any] | None = None) -> Session:
    """The session that a request belongs to.

    Its id is the body's ``conversation`` (an id, or an object with one), else Open WebUI's chat. The user is the
    body's ``user`` or, as newer OpenAI clients say it, ``safety_identifier``, else Open WebUI's.
    """
    body = body or {}
    conversation = body.get("conversation")
    if isinstance(conversation, Mapping):
        conversation = conversation.get("id")
    metadata = body.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    session = _text(conversation) or _header(scope, CHAT_HEADER) or _text(metadata.get("chat_id"))
    user = _text(body.get("user")) or _text(body.get("safety_identifier")) or _header(scope, USER_HEADER)
    if session is None and user is None and not metadata:
        return NO_SESSION
    return Session(session, user, metadata)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _header(scope: Scope, name: bytes) -> str | None:
    value = header(scope, name)
    return value.decode("latin-1") if value else None
