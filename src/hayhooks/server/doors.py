"""Which surfaces a server serves, and where each of them answers."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hayhooks.core.keys import KeyStore
from hayhooks.core.runtime import Runtime
from hayhooks.server.dispatch import Door
from hayhooks.server.guard import Guard
from hayhooks.server.life import Phase
from hayhooks.settings import AppSettings
from hayhooks.store.kept_files import DiskFiles
from hayhooks.surfaces._http import HTTPOptions

Serves = Literal["all", "mcp", "a2a"]  # everything on the main port, or one protocol on a port of its own


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What a server has put together, for its surfaces to be made from."""

    settings: AppSettings
    directory: Path  # of the state
    runtime: Runtime
    options: HTTPOptions
    guard: Guard
    keys: KeyStore
    files: DiskFiles
    check_store: Callable[[], None]  # blocks, raises OSError
    phase: Callable[[], Phase]
    workers: Callable[[bool], dict[str, Any]]  # what the server's processes are doing
    is_worker: bool  # one of several, any of which may get the next request of a client
    is_gone: Callable[[int], bool]  # whether the process of that id, which served the same, has ended
    title: str  # of the app


@dataclass(frozen=True, slots=True, eq=False)
class Doors:
    """What answers, by the first segment of a path, and by what follows a deployment's name."""

    prefixes: Mapping[str, Door] = field(default_factory=dict)
    verbs: Mapping[str, Door] = field(default_factory=dict)


def opening(serves: Serves) -> Callable[[Parts, AsyncExitStack], Awaitable[Doors]]:
    """What starts the surfaces that such a server has, which end with the stack.

    They are imported here: of the three a server needs one, and what it does not serve costs it nothing.
    """
    if serves == "mcp":
        from hayhooks.server.mcp_doors import alone

        return alone
    if serves == "a2a":
        from hayhooks.server.a2a_doors import alone

        return alone
    from hayhooks.server.main_doors import everything

    return everything
