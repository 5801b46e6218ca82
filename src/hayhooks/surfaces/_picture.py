"""A deployment's graph as a picture."""

from hayhooks.core.deployment import Deployment
from hayhooks.core.errors import HayhooksError


class NothingToDraw(HayhooksError):
    """The wrapper has no pipeline."""

    kind = "not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Deployment {name!r} has no pipeline to draw.")


def picture_of(deployment: Deployment) -> bytes:
    """The graph of its pipeline as PNG. Blocks. Raises NothingToDraw."""
    from hayhooks.drawing import render_png  # Pillow is loaded when the first picture is asked for

    graph = deployment.worker.graph()
    if graph is None:
        raise NothingToDraw(deployment.name)
    return render_png(graph)
