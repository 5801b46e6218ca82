"""What a JSON-RPC request is about, as far as it must be known before the library reads it."""

from dataclasses import dataclass

import msgspec

_MESSAGES = ("SendMessage", "SendStreamingMessage", "message/send", "message/stream")
_STREAMS = ("SendStreamingMessage", "SubscribeToTask", "message/stream", "tasks/resubscribe")


@dataclass(frozen=True, slots=True)
class Envelope:
    """The id and the method of a request; a request that is none has neither."""

    id: str | int | None = None
    method: str = ""

    @property
    def is_message(self) -> bool:
        """Whether it sends a message to the agent."""
        return self.method in _MESSAGES

    @property
    def is_streamed(self) -> bool:
        """Whether a stream is the answer."""
        return self.method in _STREAMS


def envelope_of(body: bytes) -> Envelope:
    """The envelope of a request; whether it is a good one is for the library to say."""
    try:
        data = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Envelope()
    if not isinstance(data, dict):
        return Envelope()
    request_id, method = data.get("id"), data.get("method")
    is_id = isinstance(request_id, (str, int)) and not isinstance(request_id, bool)
    return Envelope(request_id if is_id else None, method if isinstance(method, str) else "")
