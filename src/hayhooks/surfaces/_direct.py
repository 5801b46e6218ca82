"""Answering a plain request directly: without the layers that only others need, and for sync code without a task."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import Any, NamedTuple, Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from hayhooks.core.events import Result
from hayhooks.core.run import Run
from hayhooks.surfaces._http import Header, request_id_header

OUTCOME = "hayhooks.outcome"  # in the scope of a request: the run that has begun for it, or what has ended it


class PlainRequest(NamedTuple):
    """A POST with a short body that has come as a whole; none of its header fields is there twice."""

    scope: Scope
    fields: Mapping[bytes, bytes]
    body: bytes


class Answer(Protocol):
    """The way back to the caller of a request. Event loop only."""

    on_leave: Callable[[], None] | None  # called when the caller leaves before it is answered

    def whole(self, body: bytes, header: Header) -> None:
        """Answer with 200 and *body*, which is JSON, and with one *header* more."""

    def open_ahead(self) -> bool:
        """Whether ``send_ahead`` may be called."""

    def send_ahead(self, body: bytes, header: Header) -> None:
        """Send what ``whole``, which is to be called next, would send, as far as that goes at once. From any thread."""

    def close_ahead(self) -> bool:
        """Have nothing more sent ahead. Whether something was."""

    def hand_over(self, app: ASGIApp) -> None:
        """Let *app* answer, in a task; without effect when the caller has left."""

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run *coroutine*, which answers, in a task."""


# Begins to answer. False: nothing has happened, the app is to be called.
Begin = Callable[[PlainRequest, Answer], bool]


class DirectRun:
    """A run that is answered directly, as long as nothing but its result has to be told.

    *render* makes an answer of the result; *app* goes on where there is more to it: its scope has the run, or what has
    ended it.
    """

    __slots__ = ("_answer", "_app", "_has_left", "_is_over", "_render", "_run", "_task")

    def __init__(self, run: Run, answer: Answer, render: Callable[[Result], bytes], app: ASGIApp) -> None:
        self._run = run
        self._answer = answer
        self._render = render
        self._app = app
        self._has_left = False
        self._is_over = False  # as far as it is direct
        self._task: asyncio.Task[None] | None = None  # once it has begun

    def call(self) -> None:
        """Begin the hook."""
        self._answer.on_leave = self._leave
        # Of its own: validators are the user's code as well, and what they set is for this run alone.
        copy_context().run(self._call)

    def _call(self) -> None:
        if not self._run.call(self._done, self._open):
            self._answer.start(self._reply())

    def _open(self) -> Callable[[Result], None] | None:
        return self._send_ahead if self._answer.open_ahead() else None

    def _send_ahead(self, result: Result) -> None:
        self._answer.send_ahead(self._render(result), request_id_header(self._run))

    def fail(self, error: BaseException | None) -> None:
        """Answer with *error*, which has ended the run."""
        if not self._has_left:
            self._hand_over(error)

    def stop(self) -> None:
        """The server waits no longer."""
        if not self._is_over and not self._answer.close_ahead():
            self._stop()

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            self._end()
            self.fail(self._run.leave(asyncio.CancelledError()))

    def _leave(self) -> None:
        """The caller waits no longer."""
        if not self._is_over and not self._answer.close_ahead():
            self._has_left = True
            self._stop()

    def _end(self) -> None:
        self._is_over = True
        self._answer.on_leave = None

    async def _reply(self) -> None:
        """What takes a task: an async hook, or the failure of what comes before a hook."""
        if self._is_over:
            return
        self._task = asyncio.current_task()
        try:
            result = await self._run.result()
        except BaseException as error:  # for the app to answer
            self._end()
            told: BaseException | None = error
            try:
                told = self._run.leave(error)
            finally:
                self.fail(told)
                del told  # it holds this frame
        else:
            self._done(result)

    def _done(self, result: Result | None) -> None:
        self._end()
        if self._has_left:  # and the hook has not noticed
            self._run.leave(asyncio.CancelledError())
            return
        if result is None:
            self._hand_over(self._run)
            return
        try:
            self._answer.whole(self._render(result), request_id_header(self._run))
        finally:
            self._run.leave()

    def _hand_over(self, outcome: Run | BaseException | None) -> None:
        app = self._app

        async def go_on(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal outcome
            scope[OUTCOME], outcome = outcome, None
            await app(scope, receive, send)

        self._answer.hand_over(go_on)
