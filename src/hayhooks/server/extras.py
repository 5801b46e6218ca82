"""Protocols whose packages are an extra of ours: whether they are installed, and how to install them."""

from dataclasses import dataclass
from importlib.util import find_spec


class ExtraNotInstalled(RuntimeError):
    """A protocol was asked for whose packages are not there."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One of them."""

    title: str  # the protocol's
    name: str  # of the extra
    package: str  # what it brings, by its import name

    @property
    def is_installed(self) -> bool:
        """Whether its packages can be imported; they are not."""
        try:
            return find_spec(self.package) is not None
        except ValueError:  # somebody has put None in its place, which hides it
            return False

    @property
    def how_to_install(self) -> str:
        """The command."""
        return f'pip install "hayhooks[{self.name}]"'

    def require(self) -> None:
        """Raise ExtraNotInstalled, which says how to install it, when it is not there."""
        if not self.is_installed:
            raise ExtraNotInstalled(f"{self.title} needs packages that are not installed: {self.how_to_install}")


MCP = Extra("MCP", "mcp", "mcp")
A2A = Extra("A2A", "a2a", "a2a")
EXTRAS = (MCP, A2A)


def require_packages(serves: str) -> None:
    """Raise ExtraNotInstalled when a server that *serves* this protocol alone cannot."""
    for extra in EXTRAS:
        if extra.name == serves:
            extra.require()
