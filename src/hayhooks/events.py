"""Events that a wrapper can stream beside its text: statuses and notifications for the person who watches."""

import base64
import mimetypes
from dataclasses import dataclass
from typing import Any, Literal, get_args

__all__ = [
    "NotificationType",
    "PipelineEvent",
    "create_auth_required_event",
    "create_file_event",
    "create_input_required_event",
    "create_notification_event",
    "create_status_event",
]

NotificationType = Literal["info", "success", "warning", "error"]


@dataclass(frozen=True, slots=True)
class PipelineEvent:
    """Something for the person who watches; a chat stream carries it as the ``event`` of a chunk without choices."""

    type: str
    data: Any  # what JSON can hold; its shape belongs to the type

    def to_dict(self) -> dict[str, Any]:
        """The event as plain data: ``{"type": ..., "data": ...}``."""
        return {"type": self.type, "data": self.data}

    def to_event_dict(self) -> dict[str, Any]:
        """The same as ``to_dict``: what goes on the wire under the key ``event``."""
        return self.to_dict()


def create_status_event(description: str, done: bool = False, hidden: bool = False) -> PipelineEvent:
    """A line that says what is going on.

    Args:
        description: The line.
        done: Whether this is over; a client then stops its spinner.
        hidden: Whether a client may take the line away.
    """
    return PipelineEvent("status", {"description": description, "done": done, "hidden": hidden})


def create_notification_event(content: str, notification_type: NotificationType = "info") -> PipelineEvent:
    """A short notice that a client shows aside (a toast).

    Raises:
        ValueError: If *notification_type* is none of info, success, warning and error.
    """
    known = get_args(NotificationType)
    if notification_type not in known:
        raise ValueError(f"A notification is one of {', '.join(known)}, not {notification_type!r}.")
    return PipelineEvent("notification", {"type": notification_type, "content": content})


def create_file_event(content: bytes, filename: str, content_type: str | None = None) -> PipelineEvent:
    """A file that is part of the answer: an A2A client gets it as a file part, others as an event.

    Without *content_type* it is what *filename* tells.
    """
    media_type = content_type or mimetypes.guess_type(filename)[0] or "application/octet-stream"
    data = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    return PipelineEvent("file", {"filename": filename, "content_type": media_type, "file_data": data})


def create_input_required_event(question: str) -> PipelineEvent:
    """A question without whose answer it does not go on: the task of an A2A client then waits for input.

    What the answer says after it is said in its place.
    """
    return PipelineEvent("input_required", {"question": question})


def create_auth_required_event(explanation: str) -> PipelineEvent:
    """That the client must first see to an authorization, and how: the task of an A2A client then waits for it.

    What the answer says after it is said in its place.
    """
    return PipelineEvent("auth_required", {"explanation": explanation})
