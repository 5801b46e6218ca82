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
    has_params: bool = True  # False where they are a string or a number: a request, with what no method takes

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
    if not isinstance(method, str):
        return Envelope(request_id if is_id else None)
    # Of a request that is one otherwise; what is wrong with others is for the library to say.
    is_request = data.get("jsonrpc") == "2.0" and (is_id or request_id is None)
    has_params = not is_request or isinstance(data.get("params"), (dict, list, type(None)))
    return Envelope(request_id if is_id else None, method, has_params)
