"""What is kept of the OpenAI Responses API: responses, conversations, and what a store of them must do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from hayhooks.core.principal import Principal

ENDED = ("completed", "incomplete", "failed", "cancelled")  # statuses of a response that does not change any more


@dataclass(frozen=True, slots=True)
class KeptResponse:
    """A response as it is stored; a change is a new object under the same id."""

    id: str
    status: str  # queued, in_progress, or one of ENDED
    created_s: int  # Unix time
    session: str  # the conversation, or else the first response of the chain
    response: bytes  # JSON of the response object
    input: bytes  # JSON array of this request's own input items, each with an id
    previous_id: str | None = None
    conversation_id: str | None = None
    is_background: bool = False
    owner: int = 0  # id of the process that makes it
    events: bytes = b""  # the server-sent events of a background response that has ended

    @property
    def has_ended(self) -> bool:
        """Whether it is final."""
        return self.status in ENDED


@dataclass(frozen=True, slots=True)
class KeptConversation:
    """A conversation without its items."""

    id: str
    created_s: int
    metadata: bytes  # JSON object


Item = tuple[str, bytes]  # id, JSON


class ResponseStore(Protocol):
    """Keeps responses and conversations, each for the caller who made it, also for other processes of this server.

    All methods but `of` block; thread-safe.

    Raises:
        OSError: From every method, when the database cannot be read or written.
    """

    def of(self, caller: Principal) -> "HeldResponses":
        """What *caller* holds, for an admin everything; what is put there is *caller*'s."""

    def asked_to_cancel(self, owner: int) -> list[str]:
        """Ids of the responses that the process *owner* is asked to stop."""

    def orphans(self, is_gone: Callable[[int], bool]) -> list[KeptResponse]:
        """Responses that have not ended and whose process is gone."""

    def close(self) -> None:
        """Close the database."""


class HeldResponses(Protocol):
    """The responses and conversations of one caller; those of others are not there. All methods block; thread-safe.

    Raises:
        OSError: From every method, when the database cannot be read or written.
    """

    def put(self, kept: KeptResponse, items: Sequence[str] = (), *, is_new: bool = True) -> None:
        """Keep *kept*, in the place of what was there; unless it *is_new*, nothing happens when that was deleted.

        *items* are the ids under which its items can be found.
        """

    def get(self, response_id: str) -> KeptResponse | None:
        """The response of that id."""

    def delete(self, response_id: str) -> bool:
        """Forget it; whether it was there."""

    def chain(self, response_id: str) -> list[KeptResponse]:
        """The response of that id and those before it, as far as they are kept; oldest first. Without events."""

    def having(self, item: str) -> KeptResponse | None:
        """The response that has an item of that id."""

    def ask_to_cancel(self, response_id: str) -> None:
        """Ask the process that makes it to stop."""

    def put_conversation(self, conversation: KeptConversation) -> None:
        """Keep *conversation*, in the place of what was there."""

    def conversation(self, conversation_id: str) -> KeptConversation | None:
        """The conversation of that id."""

    def delete_conversation(self, conversation_id: str) -> bool:
        """Forget it and its items; whether it was there."""

    def append(self, conversation_id: str, items: Sequence[Item]) -> None:
        """Add items at the end of a conversation; nothing happens when it is not there."""

    def items(
        self,
        conversation_id: str,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] = "asc",
        after: str | None = None,
    ) -> list[bytes]:
        """Items of a conversation; *after* names the one before the first."""

    def item(self, conversation_id: str, item_id: str) -> bytes | None:
        """One item of a conversation."""

    def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Forget one item; whether it was there."""
