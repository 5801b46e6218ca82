"""Answers with a file that is sound."""

import base64

from starlette.responses import Response

from hayhooks import BasePipelineWrapper

WAV = base64.b64decode("UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAAA")


class PipelineWrapper(BasePipelineWrapper):
    """Answers with a file that is sound."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self):
        return Response(WAV, media_type="audio/wav")
