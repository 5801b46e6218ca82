"""What a run knows about itself, reachable from the user's code through a context variable."""

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from hayhooks.core.errors import RunCancelled
from hayhooks.core.files import FileStore
from hayhooks.core.principal import ANONYMOUS, Principal


@dataclass(frozen=True, slots=True)
class Session:
    """The conversation that a run belongs to and whom it is for, as the caller said it: not proven, only told."""

    id: str | None = None
    user: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


NO_SESSION = Session()


@dataclass(frozen=True, slots=True)
class Trace:
    """How the caller and others on the way name a request. Checked: both go into logs and answers as they are."""

    request_id: str | None = None
    trace_id: str | None = None  # 32 hex digits


NO_TRACE = Trace()


class RunContext:
    """One run, as the code inside it sees it; shared by the threads and tasks of that run."""

    __slots__ = (
        "caller",
        "counted",
        "deployment",
        "entry",
        "files",
        "headers",
        "is_cancelled",
        "report",
        "request_id",
        "run_id",
        "session",
        "shows_sources",
        "streaming_components",
        "trace_id",
        "usage",
        "version",
        "via",
    )

    def __init__(
        self,
        run_id: str,
        deployment: str,
        version: str,
        entry: str,
        via: str,
        session: Session = NO_SESSION,
        headers: Sequence[tuple[bytes, bytes]] = (),
        files: FileStore | None = None,
        caller: Principal = ANONYMOUS,
        trace: Trace = NO_TRACE,
    ) -> None:
        self.run_id = run_id  # ours, and unique
        self.request_id = trace.request_id or run_id  # what the caller knows it by
        self.trace_id = trace.trace_id
        self.deployment = deployment
        self.version = version
        self.entry = entry
        self.via = via  # the surface's name
        self.session = session
        self.headers = headers  # of the request, lower-case names
        self.files = files  # that callers have uploaded
        self.caller = caller
        self.is_cancelled = False
        # Puts an event into the run's stream, from any thread; None while it has none, and when it is over.
        self.report: Callable[[Any], None] | None = None
        self.streaming_components: Any = None  # the server's default for what streams
        self.shows_sources = False  # a stream whose call names no on_pipeline_end shows the documents it used
        self.usage: list[dict[str, Any]] = []  # as each generator reported it
        self.counted: list[Any] = []  # replies whose usage is in the list, so that none is counted twice

    def raise_if_cancelled(self) -> None:
        """Stop this run here when its caller has left.

        Raises:
            RunCancelled: A BaseException, so that it passes through pipelines and agents.
        """
        if self.is_cancelled:
            raise RunCancelled


current_context: ContextVar[RunContext | None] = ContextVar("hayhooks_run", default=None)
