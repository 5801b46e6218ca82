"""Answers with a file that is an image."""

import base64

from starlette.responses import Response

from hayhooks import BasePipelineWrapper

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class PipelineWrapper(BasePipelineWrapper):
    """Answers with a file that is an image."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self):
        return Response(PNG, media_type="image/png")
