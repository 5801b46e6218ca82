"""Pipelines written down beside the tests that call them."""

from pathlib import Path
from textwrap import dedent, indent

_WRAPPER = """\
{imports}
from hayhooks import BasePipelineWrapper

{before}

class PipelineWrapper(BasePipelineWrapper):
    def setup(self):
        self.pipeline = None

{hooks}
"""


class Wrappers:
    """The wrappers of one test module; ``write`` puts them all where a server finds them."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}

    def add(self, name: str, hooks: str, *, imports: str = "", before: str = "") -> str:
        """Remember a wrapper with these hooks and give its name; *imports* is the top of its file."""
        assert name not in self._sources, name
        self._sources[name] = _WRAPPER.format(
            imports=dedent(imports).strip(),
            before=dedent(before).strip(),
            hooks=indent(dedent(hooks).strip("\n"), "    "),
        )
        return name

    def write(self, pipelines_dir: Path) -> None:
        """Write one directory for each."""
        for name, source in self._sources.items():
            directory = pipelines_dir / name
            directory.mkdir(parents=True)
            (directory / "pipeline_wrapper.py").write_text(source, encoding="utf-8")
