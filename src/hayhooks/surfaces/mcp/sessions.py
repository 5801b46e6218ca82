"""Sessions of clients that speak a revision before 2026-07-28: ids that prove themselves, so that any process answers.

What such a session is bound to, the caller who began it, is signed into its id. Nothing is kept but what has ended.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from hayhooks.core.principal import Principal

_MOST_ENDED = 10_000
_RANDOM_CHARACTERS = 32

RequestKey = tuple[str, str | int]  # session and id of a request


class Sessions:
    """Makes and checks ids, and knows which requests of which session are being answered here. Event loop only.

    *secret* is the same in all processes of the server. *tell* is called with what the others must hear of: a session
    that has ended, or a request that is cancelled and is not answered here; *look* to take in what they tell.
    """

    def __init__(
        self,
        secret: bytes,
        tell: Callable[[str, str | int | None], None] = lambda _session, _request: None,
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._secret = secret
        self._tell = tell
        self._look = look
        self.busy = asyncio.Event()  # while something is under way that others may ask to stop
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._answering: dict[RequestKey, asyncio.Task[Any]] = {}
        self._cancelled: set[asyncio.Task[Any]] = set()
        self._streams: dict[str, set[asyncio.Task[Any]]] = {}

    def new(self, caller: Principal) -> str:
        """The id of a new session."""
        name = secrets.token_hex(_RANDOM_CHARACTERS // 2)
        return name + self._signature(name, caller)

    def is_valid(self, session: str, caller: Principal) -> bool:
        """Whether this server made that id for that caller, and the session has not ended."""
        self._look()
        name, signature = session[:_RANDOM_CHARACTERS], session[_RANDOM_CHARACTERS:]
        expected = self._signature(name, caller)
        return hmac.compare_digest(signature.encode(), expected.encode()) and session not in self._ended

    def end(self, session: str) -> None:
        """Forget the session, here and elsewhere; what is being done for it stops."""
        self.end_here(session)
        self._tell(session, None)

    def cancel(self, session: str, request: str | int) -> None:
        """Stop answering that request, wherever it is answered."""
        if not self.cancel_here(session, request):
            self._tell(session, request)

    def end_here(self, session: str) -> None:
        """As ``end``, in this process."""
        self._ended[session] = None
        while len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)
        for key in [key for key in self._answering if key[0] == session]:
            self.cancel_here(*key)
        for task in self._streams.pop(session, ()):
            self._stop(task)

    def cancel_here(self, session: str, request: str | int) -> bool:
        """As ``cancel``, in this process; whether it is answered here."""
        task = self._answering.pop((session, request), None)
        self._rest()
        if task is None:
            return False
        self._stop(task)
        return True

    def begin(self, session: str | None, request: str | int) -> Callable[[], bool]:
        """The current task answers that request until what is returned is called: whether it was cancelled here."""
        task = asyncio.current_task()
        assert task is not None
        key = (session, request) if session is not None else None
        if key is not None:
            self._answering[key] = task
            self.busy.set()

        def done() -> bool:
            if key is not None and self._answering.get(key) is task:
                del self._answering[key]
            self._rest()
            return self._was_stopped(task)

        return done

    def open_stream(self, session: str | None) -> Callable[[], bool]:
        """The current task is a stream of that session; as ``begin``."""
        task = asyncio.current_task()
        assert task is not None
        if session is not None:
            self._streams.setdefault(session, set()).add(task)

        def done() -> bool:
            tasks = self._streams.get(session) if session is not None else None
            if tasks is not None:
                tasks.discard(task)
                if not tasks:
                    del self._streams[session]  # type: ignore[arg-type]
            return self._was_stopped(task)

        return done

    def _rest(self) -> None:
        if not self._answering:
            self.busy.clear()

    def _stop(self, task: "asyncio.Task[Any]") -> None:
        self._cancelled.add(task)
        task.cancel()

    def _was_stopped(self, task: "asyncio.Task[Any]") -> bool:
        if task not in self._cancelled:
            return False
        self._cancelled.discard(task)
        return task.uncancel() == 0

    def _signature(self, name: str, caller: Principal) -> str:
        return hmac.new(self._secret, f"{name}\n{caller.id}".encode(), hashlib.sha256).hexdigest()[:32]
