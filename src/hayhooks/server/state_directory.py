"""Where the server keeps its state."""

import tempfile
from pathlib import Path

from hayhooks.settings import AppSettings
from hayhooks.telemetry import log


def state_directory(settings: AppSettings) -> Path:
    """The state directory, made; a temporary place when the file system is read-only and nobody named another."""
    path = settings.state_path
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if settings.state_dir:
            raise
        path = Path(tempfile.mkdtemp(prefix="hayhooks-state-"))
        log.warning(
            "Cannot write {}: deploys are forgotten when the server stops. Set HAYHOOKS_STATE_DIR.", error.filename
        )
    return path
