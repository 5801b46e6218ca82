"""The versions that a name has had: listing them, and choosing the one to go back to."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hayhooks.core.errors import HayhooksError, InvalidRequest
from hayhooks.core.store import Change, Kept

_PREFIX = re.compile(r"[0-9a-f]{4,64}")
_SHORT = 12  # digits by which versions are told to people


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a name: how it last became live, and whether it can be made live again."""

    version: str
    is_live: bool
    change: Change | None  # None when the store has forgotten
    kept: Kept | None  # None: it cannot be rolled back to


class VersionNotFound(HayhooksError):
    """The name never had that version, or its files are gone."""

    kind = "not_found"


class NothingToRollBack(HayhooksError):
    """There is no other version, or the one asked for is live."""

    kind = "conflict"


def versions_in(changes: Iterable[Change]) -> list[str]:
    """The versions that *changes* made live, each once, in their order."""
    return list(dict.fromkeys(change.version for change in changes if change.version is not None))


def list_versions(live: str | None, changes: Sequence[Change], kept: Mapping[str, Kept]) -> list[Version]:
    """All versions that are known, by when they were last live, newest first."""
    newest: dict[str, Change] = {}
    for change in changes:
        if change.version is not None:
            newest.setdefault(change.version, change)
    known = [*newest, *(version for version in kept if version not in newest)]
    if live is not None and live not in known:
        known.insert(0, live)
    return [Version(version, version == live, newest.get(version), kept.get(version)) for version in known]


def choose(name: str, asked: str | None, versions: Sequence[Version]) -> str:
    """The version of *name* to go back to: the one whose digest begins with *asked*, or the last that was live before.

    Raises:
        VersionNotFound: There is none like that, or it is not kept.
        NothingToRollBack: It is live.
        InvalidRequest: *asked* is no beginning of a digest, or of several.
    """
    chosen = _previous(name, versions) if asked is None else _asked(name, asked, versions)
    if chosen.is_live:
        raise NothingToRollBack(f"Version {chosen.version[:_SHORT]} of {name!r} is live already.")
    if chosen.kept is None:
        raise VersionNotFound(
            f"Version {chosen.version[:_SHORT]} of {name!r} is not kept. {_told(versions)} Deploy it again instead."
        )
    return chosen.version


def _previous(name: str, versions: Sequence[Version]) -> Version:
    for version in versions:
        if not version.is_live:
            return version
    raise NothingToRollBack(f"{name!r} has no other version to roll back to.")


def _asked(name: str, asked: str, versions: Sequence[Version]) -> Version:
    if _PREFIX.fullmatch(asked) is None:
        raise InvalidRequest(
            f"version: {asked[:80]!r} is no version: give at least 4 of the hexadecimal digits of one.",
            [{"loc": ["body", "version"], "msg": "Must be 4 to 64 hexadecimal digits", "type": "version"}],
        )
    found = [version for version in versions if version.version.startswith(asked)]
    if not found:
        raise VersionNotFound(f"{name!r} has no version {asked[:_SHORT]!r}. {_told(versions)}")
    if len(found) > 1:
        several = ", ".join(version.version for version in found)
        raise InvalidRequest(
            f"version: several begin with {asked!r}: {several}. Give more digits.",
            [{"loc": ["body", "version"], "msg": "Begins several versions", "type": "version"}],
        )
    return found[0]


def _told(versions: Sequence[Version]) -> str:
    kept = [version.version[:_SHORT] for version in versions if version.kept is not None and not version.is_live]
    return f"There is {', '.join(kept)}." if kept else "No other version is kept."
