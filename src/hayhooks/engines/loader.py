"""Load the modules of one version under a private package, and forget them again.

Inside the package everything works that works in an ordinary one: relative imports, imports made later inside a
run, ``__file__``, and plain imports of siblings (``import helper``). Outside nothing is seen: no entry in
``sys.path``, and in ``sys.modules`` only names below the private package, removed with it.
"""

import builtins
import gc
import importlib
import importlib.machinery
import importlib.util
import itertools
import linecache
import os
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hayhooks.engines.caches import purge

PREFIX = "_hayhooks_"

_SUFFIXES = (".py", *importlib.machinery.EXTENSION_SUFFIXES)
_IMPORT_TURN_S = 5.0
_importing = threading.RLock()
_serial = itertools.count(1)
_packages: dict[str, "PrivatePackage"] = {}


class PrivatePackage:
    """The modules of one version, loaded from *directory* as they are imported.

    Thread-safe as Python's own import system is. Nothing is ever written into the directory, and bytecode caches in
    it are not read: two versions may have been written within one tick of the file system's clock.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = f"{PREFIX}{next(_serial)}_{re.sub(r'[^A-Za-z0-9_]', '_', name)}"
        self.directory = directory
        self.builtins = {**vars(builtins), "__import__": self._import}
        _packages[self.name] = self
        if _finder not in sys.meta_path:
            sys.meta_path.insert(0, _finder)

    def load(self, module: str) -> ModuleType:
        """Import *module* (a name inside the package)."""
        return importlib.import_module(f"{self.name}.{module}")

    def forget(self) -> None:
        """Drop the modules, so that their memory is free when the last run that uses them has ended."""
        _packages.pop(self.name, None)
        for name in [name for name in list(sys.modules) if name == self.name or name.startswith(self.name + ".")]:
            file = getattr(sys.modules.pop(name, None), "__file__", None)
            if file:
                linecache.cache.pop(file, None)
        purge(self.name, self.directory)
        # What was kept by value must not keep the package: functions hold this dictionary.
        self.builtins = {}

    def _import(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002 - the signature is the language's
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """``__import__`` as code of this package sees it: a sibling file comes before an installed package.

        The standard library comes before both: a helper called ``types.py`` imported as ``.types`` must not take
        the place of the real one in ``import types``.
        """
        if level == 0:
            top = name.partition(".")[0]
            if top not in sys.stdlib_module_names and self._is_sibling(top):
                private = f"{self.name}.{name}"
                if fromlist:
                    return builtins.__import__(private, globals, locals, fromlist, 0)
                importlib.import_module(private)
                return sys.modules[f"{self.name}.{top}"]
            return _import_in_turn(name, globals, locals, fromlist or ())
        return builtins.__import__(name, globals, locals, fromlist or (), level)

    def _is_sibling(self, top: str) -> bool:
        if f"{self.name}.{top}" in sys.modules:
            return True
        # Asked for every import of every wrapper: plain strings are several times as fast as pathlib.
        here = f"{self.directory}{os.sep}{top}"
        if os.path.isdir(here):  # noqa: PTH112
            # A folder without __init__.py is a package only when nothing installed has its name, as on sys.path.
            is_package = os.path.isfile(f"{here}{os.sep}__init__.py")  # noqa: PTH113
            if is_package or (top not in sys.modules and importlib.util.find_spec(top) is None):
                return True
        return any(os.path.isfile(here + suffix) for suffix in _SUFFIXES)  # noqa: PTH113


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Runs a source file with the package's own builtins, compiling it anew."""

    def __init__(self, fullname: str, path: str) -> None:
        super().__init__(fullname, path)
        self.package = _packages[fullname.partition(".")[0]]

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module; its functions keep the builtins they were defined with."""
        module.__dict__["__builtins__"] = self.package.builtins
        super().exec_module(module)

    def get_code(self, fullname: str) -> Any:
        """Compile the source; caches are neither read nor written."""
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _BareLoader(_SourceLoader):
    """Runs nothing; ``importlib.resources`` finds the files of the folder by it."""

    def get_code(self, fullname: str) -> Any:
        """Code that does nothing."""
        return compile("", self.path, "exec")


class _Finder:
    """Finds the modules of all private packages."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of a private package or of a module inside one; None for every other name."""
        if not fullname.startswith(PREFIX):
            return None
        root, _, below = fullname.partition(".")
        package = _packages.get(root)
        if package is None:
            return None
        if not below:
            return self._root_spec(package)
        finder = importlib.machinery.FileFinder(
            str(path[0]) if path else str(package.directory),
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (_SourceLoader, importlib.machinery.SOURCE_SUFFIXES),
        )
        spec = finder.find_spec(fullname, target)
        if spec is not None and spec.loader is None and spec.submodule_search_locations:
            return _bare_package(fullname, spec.submodule_search_locations[0])
        return spec

    def _root_spec(self, package: PrivatePackage) -> importlib.machinery.ModuleSpec:
        init = package.directory / "__init__.py"
        if init.is_file():
            spec = importlib.util.spec_from_file_location(
                package.name,
                init,
                loader=_SourceLoader(package.name, str(init)),
                submodule_search_locations=[str(package.directory)],
            )
            assert spec is not None
            return spec
        return _bare_package(package.name, str(package.directory))


def _bare_package(fullname: str, directory: str) -> importlib.machinery.ModuleSpec:
    """A folder without __init__.py; a namespace package would be looked up again along a path that it is not on."""
    spec = importlib.machinery.ModuleSpec(fullname, _BareLoader(fullname, str(Path(directory, "__init__.py"))))
    spec.submodule_search_locations = [directory]
    return spec


def _import_in_turn(
    name: str,
    globals: Mapping[str, object] | None,  # noqa: A002
    locals: Mapping[str, object] | None,  # noqa: A002
    fromlist: Sequence[str],
) -> ModuleType:
    """Import a library.

    Threads that import packages with circular imports at the same time can see them half made. One at a time, but
    not for ever: a library that takes long must not delay other deployments, nor runs what is loaded already.
    """
    loaded = sys.modules.get(name)
    if loaded is not None and all(part in vars(loaded) for part in fromlist):
        return builtins.__import__(name, globals, locals, fromlist, 0)
    is_alone = _importing.acquire(timeout=_IMPORT_TURN_S)
    try:
        return builtins.__import__(name, globals, locals, fromlist, 0)
    finally:
        if is_alone:
            _importing.release()


_finder: Any = _Finder()


def public_names(text: str) -> str:
    """*text*, an error's, with modules named as their author knows them."""
    return re.sub(rf"{PREFIX}\d+_\w+\.", "", text)


def collect() -> None:
    """Free what retired versions left behind: modules and classes form cycles that only the collector breaks."""
    gc.collect()
