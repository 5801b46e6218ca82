"""The form in which events for the person who watches travel in a chat stream.

``chunk`` is a whole chunk without choices that has a key more, which every client of the API can read. ``bare`` is
``{"event": {"type", "data"}}`` and nothing else: no chunk, so only for clients that know of it. ``off`` is none.
"""

from typing import Literal, get_args

from starlette.types import Scope

from hayhooks.core.errors import InvalidRequest

EventForm = Literal["chunk", "bare", "off"]
HEADER = b"x-hayhooks-events"
_OPEN_WEBUI = b"x-openwebui-"  # what its requests carry when it forwards user information


def event_form(scope: Scope, default: EventForm | Literal["auto"]) -> EventForm:
    """The form that the caller asks for, or else the server's *default*; ``auto`` is bare for Open WebUI alone.

    Raises:
        InvalidRequest: The caller asks for a form that there is not.
    """
    form: EventForm = "chunk" if default == "auto" else default
    for name, value in scope["headers"]:
        if name == HEADER:
            asked = value.decode("latin-1").strip().lower()
            for known in get_args(EventForm):
                if asked == known:
                    return known  # type: ignore[no-any-return]
            raise InvalidRequest(
                f"X-Hayhooks-Events is one of {', '.join(get_args(EventForm))}.",
                [{"loc": ["header", "x-hayhooks-events"], "msg": "Not a form of events", "type": "invalid"}],
            )
        if default == "auto" and name.startswith(_OPEN_WEBUI):
            form = "bare"
    return form
