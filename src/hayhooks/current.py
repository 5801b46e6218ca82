"""What the user's code can ask about the run that it is part of."""

from collections.abc import Mapping

from starlette.datastructures import Headers

from hayhooks.core.context import RunContext, Session, current_context
from hayhooks.core.principal import Principal
from hayhooks.events import (
    PipelineEvent,
    create_auth_required_event,
    create_input_required_event,
    create_status_event,
)

__all__ = ["CurrentRun", "Principal", "Session", "current_run"]


class CurrentRun:
    """One run, as the code inside it sees it: in hooks, components and tools, sync or async."""

    __slots__ = ("_context",)

    def __init__(self, context: RunContext) -> None:
        self._context = context

    @property
    def run_id(self) -> str:
        """The run's id, as in ``X-Request-ID`` and the log."""
        return self._context.run_id

    @property
    def request_id(self) -> str:
        """The caller's own id of the request (``X-Request-ID``), or else the run's."""
        return self._context.request_id

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that the request belongs to (``traceparent``), 32 hex digits."""
        return self._context.trace_id

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self._context.deployment

    @property
    def version(self) -> str:
        """The deployment's version: the hex digest of its files."""
        return self._context.version

    @property
    def entry(self) -> str:
        """The hook that was called, without ``_async``."""
        return self._context.entry

    @property
    def via(self) -> str:
        """The protocol that the caller speaks: ``rest``, ``openai``, ..."""
        return self._context.via

    @property
    def session(self) -> Session:
        """The conversation and the user that the caller named; told by the caller, not proven."""
        return self._context.session

    @property
    def caller(self) -> Principal:
        """Who calls, as the server has proved it by a key or token; anonymous when it asks for none."""
        return self._context.caller

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers; names in any case."""
        return Headers(raw=list(self._context.headers))

    @property
    def is_cancelled(self) -> bool:
        """Whether the caller has left: what is still computed is for nobody."""
        return self._context.is_cancelled

    def report_status(self, description: str, *, done: bool = False, hidden: bool = False) -> None:
        """Tell the person who watches what is going on, as `create_status_event` says it; see `report`."""
        self.report(create_status_event(description, done=done, hidden=hidden))

    def require_input(self, question: str) -> str:
        """Say that the answer is *question*, and that there is nothing to be done before that is answered.

        An A2A client sees its task wait for input, and answers in the same task; other clients see an answer like any
        other. Returns *question*: ``return current_run().require_input("Which city?")`` is a whole chat hook. What is
        said instead after the call, for example by the model whose tool has made it, is said in its place.
        """
        self.report(create_input_required_event(question))
        return question

    def require_auth(self, explanation: str) -> str:
        """Say that an authorization is missing which the client must see to, as *explanation* says.

        As `require_input`, for what does not belong into a message: the client logs in elsewhere, or hands a credential
        over elsewhere, and then sends a message to the task, which waits for it as ``auth-required``.
        """
        self.report(create_auth_required_event(explanation))
        return explanation

    def report(self, event: PipelineEvent) -> None:
        """Put *event* into the stream of the answer at once, also while a chat hook has returned nothing yet.

        From any thread or task. Without effect where there is no stream to be in: in plain answers, and when the run
        is over or its caller has left. A thread is held back while the reader is far behind; on the event loop,
        where nothing may wait, events that are thousands of items ahead are left out.

        Raises:
            TypeError: *event* is no PipelineEvent.
        """
        if not isinstance(event, PipelineEvent):
            raise TypeError(f"report() takes a PipelineEvent, not {type(event).__name__}.")
        report = self._context.report
        if report is not None:
            report(event)


def current_run() -> CurrentRun:
    """The run that the calling code is part of.

    Raises:
        LookupError: The code does not run inside a run.
    """
    context = current_context.get()
    if context is None:
        raise LookupError("current_run() is called outside of a run.")
    return CurrentRun(context)
