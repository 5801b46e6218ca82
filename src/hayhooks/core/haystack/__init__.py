"""The only contact with Haystack, in both of its major versions."""

import importlib.util
import os
import sys
import threading
from typing import Any

# Haystack reports usage to its makers unless told otherwise, and looks when it is first imported: this comes before
# any import of it, as all contact with Haystack is below. A server keeps quiet unless its owner speaks.
os.environ.setdefault("HAYSTACK_TELEMETRY_ENABLED", "False")


def _put_off(name: str) -> None:
    """Let the first use of module *name* load it, not its import.

    Not by importlib's LazyLoader: since Python 3.11 ``import`` itself asks a module for its spec, which loads that.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader, turn = spec.loader, threading.RLock()
    module = importlib.util.module_from_spec(spec)

    def load(attribute: str) -> Any:
        if attribute.startswith("__") and attribute != "__path__":  # who looks through all modules uses none
            raise AttributeError(attribute)
        with turn:
            if vars(module).pop("__getattr__", None) is not None:
                module.__path__ = path
                loader.exec_module(module)
        return getattr(module, attribute)

    path = vars(module).pop("__path__", [])  # imports of modules below ask for it: theirs is a use, too
    module.__getattr__ = load  # type: ignore[method-assign]
    sys.modules[name] = module


# What reports is imported all the same, a tenth of all that a start imports, and nobody uses it then.
if os.environ["HAYSTACK_TELEMETRY_ENABLED"].lower() not in ("true", "1") and "posthog" not in sys.modules:
    _put_off("posthog")
