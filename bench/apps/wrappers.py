"""Loads the benchmark's wrapper directories without hayhooks: they only need a base class of that name."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load(directory: Path) -> dict[str, Any]:
    """The set-up wrapper of each directory in *directory*, by name, in the order of their names."""
    hayhooks = ModuleType("hayhooks")
    hayhooks.BasePipelineWrapper = object  # type: ignore[attr-defined]
    sys.modules["hayhooks"] = hayhooks
    return {path.parent.name: _load(path) for path in sorted(directory.glob("*/pipeline_wrapper.py"))}


def _load(path: Path) -> Any:
    name = f"_wrapper_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    wrapper = module.PipelineWrapper()
    wrapper.setup()
    return wrapper


def has(wrapper: Any, hook: str) -> bool:
    """Whether the wrapper defines the method *hook*."""
    return callable(getattr(wrapper, hook, None))
