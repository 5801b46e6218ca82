"""Where a server is in its life."""

import asyncio
from typing import Literal

Phase = Literal["starting", "ready", "draining"]


class Life:
    """Whoever runs the server moves it on; the app and its health checks read it."""

    def __init__(self) -> None:
        self.phase: Phase = "starting"
        # Builds what is deployed at start, while the server answers already; None when it does so before.
        self.start: asyncio.Task[None] | None = None
