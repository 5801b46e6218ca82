import time
from collections.abc import Iterator
from typing import Any

from fastapi import HTTPException

from hayhooks import BasePipelineWrapper, current_run
from hayhooks.events import PipelineEvent, create_file_event

URL = {"filename": "output.txt", "content_type": "text/plain", "file_url": "https://example.com/output.txt"}


class PipelineWrapper(BasePipelineWrapper):
    """Does what the conformance kit says with the beginning of a message's id; anything else it just answers."""

    a2a_card = {"name": "Kit", "description": "Does what A2A's conformance kit asks for", "public": True}

    def setup(self) -> None:
        pass

    def run_chat_completion(self, model: str, messages: list[dict[str, Any]], body: dict[str, Any]) -> Iterator[Any]:
        wanted = body["a2a"]["message_id"]
        if wanted.startswith("tck-input-required"):
            yield current_run().require_input("What else?")
        elif wanted.startswith("tck-auth-required"):
            yield current_run().require_auth("Log in at https://example.com")
        elif wanted.startswith("tck-reject-task"):
            raise HTTPException(400, "rejected")
        elif wanted.startswith("tck-delayed-complete"):
            time.sleep(2)
            yield "Done after delay"
        elif wanted.startswith("tck-artifact-file-url"):
            yield PipelineEvent("file", URL)
        elif wanted.startswith(("tck-artifact-file", "tck-stream-artifact-file")):
            yield create_file_event(b"tck", "output.txt", "text/plain")
        elif wanted.startswith("tck-artifact-data"):
            yield {"key": "value", "count": 42}
        elif wanted.startswith("tck-artifact-text"):
            yield "Generated text content"
        else:
            yield "Hello from TCK"
