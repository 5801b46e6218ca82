"""Answers with a file."""

from starlette.responses import PlainTextResponse

from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    """Answers with a file."""

    def setup(self) -> None:
        self.pipeline = None

    def run_api(self):
        headers = {"content-disposition": "attachment; filename=note.txt"}
        return PlainTextResponse("This is an embedded resource content.", headers=headers)
