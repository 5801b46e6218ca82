"""The smallest wrappers that a server can run, as source code."""

WRAPPER = """\
from hayhooks import BasePipelineWrapper


class PipelineWrapper(BasePipelineWrapper):
    def setup(self) -> None:
        self.pipeline = None

    def run_api(self, name: str = "world") -> str:
        return {answer!r} + name
"""


def wrapper(answer: str = "hello ") -> str:
    """A wrapper whose ``/run`` answers *answer* followed by the name it is given."""
    return WRAPPER.format(answer=answer)


def deploy_body(name: str, answer: str = "hello ", **more: object) -> dict[str, object]:
    """Body of ``POST /deploy_files``."""
    return {"name": name, "files": {"pipeline_wrapper.py": wrapper(answer)}, **more}
