"""What can go wrong between a client and the server, said for whoever called."""

from collections.abc import Mapping, Sequence
from typing import Any


class ClientError(Exception):
    """Base of every error of the client. ``hint`` says what to do next, when that is known."""

    hint: str | None = None


class InvalidClientRequest(ClientError):
    """The request cannot be sent as it is: a URL, a key or a file that does not work."""


class ServerUnreachable(ClientError):
    """No connection to the server came about."""

    def __init__(self, url: str, reason: str, hint: str | None = None) -> None:
        super().__init__(f"Cannot reach Hayhooks at {url}: {reason}.")
        self.url = url
        self.reason = reason
        self.hint = hint or "Start a server with `hayhooks run`, or name another one with --url."


class BrokenAnswer(ClientError):
    """The server's answer ended early, came too late, or is not one of Hayhooks."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ServerRefused(ClientError):
    """The server answered with an error.

    ``kind`` is the server's own word (``"not_found"``, ``"conflict"``, …), None when the answer carries none.
    ``errors`` holds one ``{"loc", "msg", "type"}`` per fault of a request body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        errors: Sequence[Mapping[str, Any]] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(_with_faults(detail, errors))
        self.status = status
        self.detail = detail
        self.kind = kind
        self.errors = tuple(errors)
        self.hint = hint


def refusal(status: int, body: Any, *, reason: str = "", retry_after: str | None = None) -> ServerRefused:
    """The error that an answer of *status* with the decoded JSON *body* (None: it was no JSON) means.

    Understands Hayhooks' own shape, FastAPI's (``detail`` is a list of faults) and OpenAI's.
    """
    detail, kind, errors = f"The server answered {status} {reason}".rstrip() + ".", None, []
    if isinstance(body, dict):
        given = body.get("detail")
        openai = body.get("error")
        if isinstance(given, str) and given:
            detail = given
        elif isinstance(given, list):
            detail, errors = "The request is not valid.", given
        elif given is not None:  # an application's own HTTPException may carry any JSON
            detail = str(given)
        elif isinstance(openai, dict) and isinstance(openai.get("message"), str):
            detail = openai["message"]
        kind = body["kind"] if isinstance(body.get("kind"), str) else None
        errors = body["errors"] if isinstance(body.get("errors"), list) else errors
    faults = [fault for fault in errors if isinstance(fault, dict)]
    return ServerRefused(status, detail, kind=kind, errors=faults, hint=_hint(status, kind, retry_after))


def _hint(status: int, kind: str | None, retry_after: str | None) -> str | None:
    if status == 401:
        return "Give the server's key: --api-key KEY, or HAYHOOKS_ADMIN_KEY in the environment or a .env file."
    if status in {429, 503} and retry_after:
        return f"Try again in {retry_after} s." if retry_after.isdigit() else f"Try again after {retry_after}."
    if status == 404 and kind is None:
        return "Is the URL right, and is it Hayhooks that answers there? `hayhooks status` lists what is deployed."
    if status >= 500:
        return "The server's log says why."
    return None


def _with_faults(detail: str, errors: Sequence[Mapping[str, Any]]) -> str:
    lines = [detail]
    for fault in errors:
        where = ".".join(str(step) for step in fault.get("loc", ()) if step != "body")
        message = fault.get("msg", "is not valid")
        lines.append(f"  {where}: {message}" if where else f"  {message}")
    return "\n".join(lines)
