"""The engine that runs deployments in this process."""

import asyncio
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from hayhooks.core.bundle import Bundle
from hayhooks.core.deployment import Deployment, Limits
from hayhooks.core.haystack.boundaries import listen
from hayhooks.core.haystack.protocols import remember_protocols
from hayhooks.core.haystack.schema import teach_pydantic
from hayhooks.engines.inline.build import build
from hayhooks.engines.loader import collect
from hayhooks.engines.mailbox import Mailbox
from hayhooks.engines.threads import Threads

# A collection stops every thread while it looks at all that is deployed: versions that retire together share one.
_GATHER_S = 0.25
_SOON_SWITCH_S = 0.0001
_GATHERED = 3  # versions that are not kept waiting: each may hold a model


class _Switching:
    """How soon a thread hands over the interpreter lock: of the process, whatever number of engines is in it."""

    def __init__(self) -> None:
        self._favouring: set[InlineEngine] = set()
        self._usual_s = 0.0

    def favour(self, engine: "InlineEngine") -> None:
        if not self._favouring:
            self._usual_s = sys.getswitchinterval()
            sys.setswitchinterval(min(_SOON_SWITCH_S, self._usual_s))
        self._favouring.add(engine)

    def leave(self, engine: "InlineEngine") -> None:
        if engine in self._favouring:
            self._favouring.remove(engine)
            if not self._favouring:
                sys.setswitchinterval(self._usual_s)


_switching = _Switching()


class InlineEngine:
    """Builds bundles into wrappers of this process; their sync code runs in threads of the engine's own.

    *place* says in which directory the files of a bundle lie. *limits* hold for wrappers that set none, and
    *streaming_components* for streams that name none.
    """

    def __init__(
        self,
        place: Callable[[Bundle], Path],
        limits: Limits | None = None,
        yaml_result: Literal["components", "outputs"] = "components",
        streaming_components: Sequence[str] | Literal["all"] | None = None,
    ) -> None:
        self._place = place
        self._limits = limits or Limits()
        self._yaml_result = yaml_result
        self._streaming_components = streaming_components
        self._threads: tuple[Threads, Mailbox] | None = None
        self._collecting = threading.Lock()
        self._has_failed = False  # a build, since the last collection
        self._forgotten = 0  # versions, since the last collection
        self._timer: threading.Timer | None = None
        listen()
        teach_pydantic()
        remember_protocols()

    async def start(self) -> None:
        """Make the threads' door to the running event loop."""
        mailbox = Mailbox(asyncio.get_running_loop())
        self._threads = Threads(mailbox), mailbox

    async def stop(self) -> None:
        """Let the threads end."""
        if self._timer is not None:
            self._timer.cancel()
        self.limit_waiting(None)
        self.favour_loop(False)
        if self._threads is not None:
            self._threads[0].close()

    def delay_s(self) -> float:
        """For how long calls wait for a thread at present. Event loop only."""
        return self._threads[0].delay_s if self._threads is not None else 0.0

    def catch_up(self) -> None:
        """Hear what threads have told already. Event loop only."""
        if self._threads is not None:
            self._threads[1].catch_up()

    def limit_waiting(self, max_wait_s: float | None) -> None:
        """Refuse calls that have waited longer for a thread, from now on; None: no more. Event loop only."""
        if self._threads is not None:
            self._threads[0].max_wait_s = max_wait_s

    def favour_loop(self, is_favoured: bool) -> None:
        """Let threads that compute hand over the interpreter lock far sooner, or as usual again. Event loop only.

        The loop takes the lock anew for each connection that it reads, and waits a whole interval each time. At other
        times that would cost pipelines a quarter of their pace.
        """
        if is_favoured:
            _switching.favour(self)
        else:
            _switching.leave(self)

    def build(self, bundle: Bundle) -> Deployment:
        """Build *bundle*. Blocks; called in a thread. Raises BuildFailed."""
        if self._has_failed:  # its error held everything until it was answered
            self._collect()
        try:
            return build(
                bundle,
                self._place(bundle),
                limits=self._limits,
                yaml_result=self._yaml_result,
                streaming_components=self._streaming_components,
                threads=self._get_threads,
                forget=self._forget,
            )
        except BaseException:
            self._has_failed = True
            raise

    def _get_threads(self) -> tuple[Threads, Mailbox]:
        assert self._threads is not None, "the engine has not been started"
        return self._threads

    def _forget(self) -> None:
        """A version has been retired: collect what it left behind, soon. From any thread."""
        self._forgotten += 1
        if self._forgotten >= _GATHERED:
            self._collect()
        elif self._forgotten == 1:
            self._timer = threading.Timer(_GATHER_S, self._collect)
            self._timer.daemon = True
            self._timer.start()

    def _collect(self) -> None:
        while (self._forgotten or self._has_failed) and self._collecting.acquire(blocking=False):
            try:
                self._forgotten, self._has_failed = 0, False
                collect()
            finally:
                self._collecting.release()
