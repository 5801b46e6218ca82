"""The errors of the core: what went wrong, said for the caller, and what kind of thing it is."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

Kind = Literal[
    "invalid",  # the caller can mend the request
    "not_found",
    "conflict",  # the name is taken
    "busy",  # try again later
    "failed",  # the user's code, or ours, raised
    "timeout",
    "forbidden",
    "unauthorized",
    "too_large",
    "unsupported",  # the body is encoded in a way that is not undone here
    "misdirected",  # the Host header names a server that this is not
    "unavailable",  # starting or stopping
]


_SHOWN = 120  # characters of a name that the caller made up; names that exist are shorter


class HayhooksError(Exception):
    """Base of every error that a caller may read; its text never holds internals."""

    kind: ClassVar[Kind] = "failed"
    request_id: str | None = None  # of the run that it ended, so that its caller can name it


class InvalidRequest(HayhooksError):
    """The request does not fit the entry it was sent to.

    ``errors`` holds one ``{"loc": [...], "msg": str, "type": str}`` per fault, as pydantic words them.
    """

    kind = "invalid"

    def __init__(self, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.errors = list(errors)


class NotJSON(InvalidRequest):
    """The request's body says of itself that it is something else than JSON."""


class InvalidName(HayhooksError):
    """A deployment cannot have this name."""

    kind = "invalid"


class InvalidBundle(HayhooksError):
    """The files cannot be a deployment: a bad path, a missing wrapper, too much of something."""

    kind = "invalid"


class BuildFailed(HayhooksError):
    """The files could not be built into a deployment; the previous version stays live.

    The message names the file, the line and the user's own error: whoever deploys wrote that code.
    """

    kind = "invalid"


class DeploymentNotFound(HayhooksError):
    """No deployment of that name is live."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        name = name[:_SHOWN]
        super().__init__(f"No deployment named {name!r}.")
        self.name = name


class EntryNotFound(HayhooksError):
    """The deployment is live but cannot be called this way."""

    kind = "not_found"

    def __init__(self, name: str, entry: str) -> None:
        super().__init__(f"Deployment {name!r} has no {entry}.")
        self.name = name
        self.entry = entry


class KeptFileNotFound(HayhooksError):
    """No file of that id was uploaded here, or it is gone."""

    kind = "not_found"

    def __init__(self, file_id: str) -> None:
        super().__init__(f"No such File object: {file_id[:80]}")
        self.file_id = file_id


class KeyNotFound(HayhooksError):
    """No API key of that id was ever made here."""

    kind = "not_found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"No API key has the id {key_id[:80]!r}.")
        self.key_id = key_id


class KeyNameTaken(HayhooksError):
    """An API key of that name works already."""

    kind = "conflict"

    def __init__(self, name: str) -> None:
        super().__init__(f"An API key named {name!r} works already. Revoke it, or choose another name.")
        self.name = name


class InvalidKey(HayhooksError):
    """An API key cannot be made like that; the message says what is wrong."""

    kind = "invalid"


class DeploymentExists(HayhooksError):
    """The name is taken and overwriting was not asked for."""

    kind = "conflict"

    def __init__(self, name: str) -> None:
        super().__init__(f"A deployment named {name!r} exists. Ask to overwrite it, or choose another name.")
        self.name = name


class DeploymentBusy(HayhooksError):
    """All slots of the deployment are taken and its queue is full."""

    kind = "busy"

    def __init__(self, name: str, running: int, queued: int) -> None:
        super().__init__(f"Deployment {name!r} is busy: {running} running, {queued} waiting. Try again later.")
        self.name = name
        self.retry_after_s = 1


class QuotaExceeded(HayhooksError):
    """The caller has used what its key allows; other callers are not concerned."""

    kind = "busy"

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RunTimeout(HayhooksError):
    """The run took longer than the deployment allows."""

    kind = "timeout"

    def __init__(self, name: str, timeout_s: float) -> None:
        super().__init__(f"The run of {name!r} took longer than {timeout_s:g} s and was stopped.")


class RunFailed(HayhooksError):
    """The user's code raised; the cause is in ``__cause__`` and in the log, never in the message."""

    kind = "failed"

    def __init__(self, name: str) -> None:
        super().__init__(f"The run of {name!r} failed. The server's log says why.")
        self.name = name


class TooLarge(HayhooksError):
    """The request, or a part of it, is larger than allowed."""

    kind = "too_large"


class UnsupportedEncoding(HayhooksError):
    """The body is compressed: a small one could become as large as it likes."""

    kind = "unsupported"

    def __init__(self) -> None:
        super().__init__("Send the body without Content-Encoding.")


class Unauthorized(HayhooksError):
    """A key is needed, and the one given is missing or wrong."""

    kind = "unauthorized"


class Forbidden(HayhooksError):
    """The caller may not do this here."""

    kind = "forbidden"


class Misdirected(HayhooksError):
    """The Host header names a server that this is not."""

    kind = "misdirected"


class Unavailable(HayhooksError):
    """The server is starting or stopping and takes no runs."""

    kind = "unavailable"


class ServerStarting(Unavailable):
    """Deployments are still being built."""

    def __init__(self) -> None:
        super().__init__("The server is starting. Try again soon.")
        self.retry_after_s = 1


class ServerStopping(Unavailable):
    """No run begins any more, and those under way are over."""

    def __init__(self) -> None:
        super().__init__("The server is stopping.")
        self.retry_after_s = 1  # another one may be there by then
        self.closes_connection = True


class Overloaded(HayhooksError):
    """The whole server has as much to do as it can, whichever deployment is called."""

    kind = "unavailable"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.retry_after_s = 1


class RunCancelled(BaseException):
    """Raised inside a run whose caller has left.

    A BaseException, because Pipeline wraps an Exception raised by a streaming callback and an Agent hands one
    raised in a tool to the model; this passes cleanly through both.
    """
