"""The server that is checked: pipelines that ask a model which does as it is told."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.model_server import ModelServer
from tests.support.obedient_model import obedient
from tests.support.readme import ROOT

from hayhooks.testing import RunningServer, running_server

PIPELINES = Path(__file__).parent / "pipelines"
TYPED = Path(__file__).parent / "typed"  # for what reads the OpenAPI document: values of each sort, no model
# Further names of the same wrapper: tools go by the name of a model when they decide what to check.
NAMES = {"relay": ("gpt-5-relay", "claude-4-relay"), "passthrough": ("gpt-5-passthrough", "claude-4-passthrough")}


@contextmanager
def serving(pipelines: Path = PIPELINES) -> Iterator[RunningServer]:
    """Serve a copy of *pipelines*, each under all its names."""
    with tempfile.TemporaryDirectory() as work, ModelServer(answer=obedient, word_s=0.02) as models:
        directory = Path(work) / "pipelines"
        shutil.copytree(pipelines, directory, ignore=shutil.ignore_patterns("__pycache__"))
        for source, names in NAMES.items():
            for name in names if (directory / source).exists() else ():
                shutil.copytree(directory / source, directory / name)
        with running_server(directory, env={**models.env, "PYTHONPATH": str(ROOT)}) as server:
            yield server
