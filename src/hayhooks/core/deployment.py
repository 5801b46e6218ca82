"""A deployment: one built version of a pipeline, ready to run. And what an engine must be able to do with it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Literal, Protocol

from hayhooks.core.bundle import Bundle
from hayhooks.core.context import NO_SESSION, NO_TRACE, RunContext, Session, Trace
from hayhooks.core.events import Event, Raw, Result
from hayhooks.core.graph import Graph
from hayhooks.core.principal import ANONYMOUS, Principal


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a deployment may happen at once, and how much it takes in. None is no limit of its own."""

    max_concurrent_runs: int | None = 1000
    max_queued_runs: int | None = 1000
    run_timeout_s: float | None = None
    max_body_bytes: int | None = None
    max_upload_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a request, spooled to disk when large."""

    filename: str
    content_type: str | None
    size: int  # bytes
    file: BinaryIO
    headers: Any = None


@dataclass(slots=True)
class Call:
    """What a surface hands to an entry: bytes as they came, or plain data it had to read itself."""

    body: bytes | None = None  # JSON text of the arguments; with uploads, of all but these
    arguments: dict[str, Any] | None = None
    form: Sequence[tuple[str, str]] | None = None  # text fields of a form, in order
    uploads: Mapping[str, Sequence[Upload]] | None = None  # by form field
    headers: Sequence[tuple[bytes, bytes]] = ()
    session: Session = NO_SESSION
    caller: Principal = ANONYMOUS
    trace: Trace = NO_TRACE
    # The answer of a chat hook is read as a stream from the start: what the code reports while it works goes out at
    # once. Such a run replies with a stream whatever the hook returns, and its failures come out of the stream.
    wants_stream: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One way to call a deployment.

    Schemas are standalone JSON Schemas with ``$defs``. ``file_fields`` maps each upload parameter to whether it
    takes several files; with any, the entry takes multipart forms.
    """

    name: str
    description: str = ""
    request_schema: Mapping[str, Any] = field(default_factory=dict)
    response_schema: Mapping[str, Any] | None = None
    file_fields: Mapping[str, bool] = field(default_factory=dict)
    required_files: frozenset[str] = frozenset()
    streams: Literal["text", "sse", None] = None  # known from the signature; None when only a call can tell


class Stream(Protocol):
    """The answer of a run that streams."""

    media: Literal["text", "sse"]  # how the hook wants it sent where the protocol leaves a choice

    def batches(self) -> AsyncIterator[list[Event]]:
        """Events as they come, several at a time when they come fast."""


class Invocation(Protocol):
    """One call of an entry under way."""

    is_finished: bool

    def begin(
        self,
        tell: "Callable[[Result | Raw | Stream | None, BaseException | None], None]",
        ahead: "Callable[[], Callable[[Result], None] | None]",
    ) -> bool:
        """Start the call and, on the event loop and later, *tell* its answer or what was raised in its place.

        When nothing else is under way and the hook has a thread, *ahead* is asked at once for somebody to call there,
        with a result, before it is told. That must not block.

        False: nothing is begun, as it takes a task of the caller's to do that; ``reply`` is to be awaited.
        After ``cancel`` nothing is told.
        """

    async def reply(self) -> "Result | Raw | Stream":
        """Start the call and return its answer, or the stream of it as soon as the hook has begun one."""

    def cancel(self) -> None:
        """Ask the user's code to stop; async code at once, sync code at its next chunk or component."""

    def on_finished(self, callback: Callable[[], None]) -> None:
        """Call *callback* on the event loop when no user code of this call runs any more."""


class Worker(Protocol):
    """Where the code of one deployment lives."""

    def invoke(self, entry: str, call: Call, context: RunContext) -> Invocation:
        """Prepare a call; nothing runs before ``reply``."""

    def graph(self) -> Graph | None:
        """The pipeline's graph, or None when there is no pipeline. Blocks."""

    def close(self) -> None:
        """Run the user's ``teardown()`` and free everything. May block; called once, in a thread."""


class Engine(Protocol):
    """Builds bundles into deployments and runs them somewhere."""

    def build(self, bundle: Bundle) -> "Deployment":
        """Build *bundle*. Blocks; called in a thread.

        Raises:
            BuildFailed: With a message for the one who deploys.
        """

    async def start(self) -> None:
        """Get ready on the running event loop."""

    async def stop(self) -> None:
        """Free what the engine holds."""


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """One built version of a pipeline, ready to run.

    Compared by identity: building the same bundle twice gives two deployments.
    """

    name: str
    version: str  # hex digest of the bundle it was built from
    entries: Mapping[str, Entry]  # what can be called, by hook name without _async
    worker: Worker
    limits: Limits
    description: str = ""
    runs_own_tools: bool = False  # tool calls in its stream are not the caller's to make
    is_public: bool | None = None  # whether it asks for no key; None: as the server says
    required_scope: str | None = None  # that a caller must have, besides the right to call it
    readme: str = ""  # what its author wrote for those who use it
    takes_legacy_calls: bool = False  # POST /{name} with {component: {input: value}}
    attributes: Mapping[str, Any] = field(default_factory=dict)  # skip_mcp, skip_a2a, a2a_card, deployment_type, ...
    created_s: int = 0  # Unix time of the build
