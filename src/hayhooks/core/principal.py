"""Who calls, as the server has proved it, and what they may do. One for every protocol."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Action = Literal[
    "run",  # call a deployment
    "read",  # see that it is there, its schemas and its state
    "deploy",  # deploy, roll back and undeploy: run code on the server
    "admin",  # everything, keys included
]
ACTIONS: tuple[Action, ...] = ("run", "read", "deploy", "admin")

_MOST_FOUND = 1000
_SCOPE = re.compile(r"[a-zA-Z][a-zA-Z0-9_.-]{0,63}(:[a-zA-Z0-9_.*?-]{1,64})?")


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """What one caller may use of each server process; None is no limit."""

    requests_per_minute: int | None = None
    max_concurrent_runs: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller.

    ``scopes`` are words such as ``run``, which is for every deployment, ``run:team-*`` for those whose name fits the
    pattern (``*`` any characters, ``?`` one), or ones of the owner's own that a deployment may ask for.
    """

    id: str  # stable and unique: "anonymous", "local", "admin", "key:<id>", "jwt:<issuer>#<subject>"
    name: str  # for people and logs
    kind: Literal["anonymous", "local", "key", "token", "admin"]
    scopes: frozenset[str] = field(default_factory=frozenset)
    limits: CallerLimits | None = None
    # What may() has found, by action and name: it is asked for every run.
    _found: dict[tuple[str, str], bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_known(self) -> bool:
        """Whether the caller has shown who it is."""
        return self.kind != "anonymous"

    @property
    def is_admin(self) -> bool:
        """Whether the caller may do everything."""
        return "admin" in self.scopes

    def may(self, action: Action, deployment: str) -> bool:
        """Whether the caller's scopes allow *action* on the deployment of that name, there or not."""
        asked = (action, deployment)
        found = self._found.get(asked)
        if found is None:
            found = self._looked_up(action, deployment)
            if len(self._found) >= _MOST_FOUND:  # names may be anything that callers make up
                self._found.clear()
            self._found[asked] = found
        return found

    def may_some(self, action: Action) -> bool:
        """Whether the caller may do that with some deployment at least."""
        return self.is_admin or any(scope.partition(":")[0] == action for scope in self.scopes)

    def has(self, scope: str) -> bool:
        """Whether the caller has a scope of the owner's own, such as ``finance``."""
        return self.is_admin or scope in self.scopes

    def _looked_up(self, action: Action, deployment: str) -> bool:
        if self.is_admin:
            return True
        if action == "read":  # whoever may call or replace it may look at it
            return any(_allows(self.scopes, known, deployment) for known in ("read", "run", "deploy"))
        return _allows(self.scopes, action, deployment)


# Nobody in particular. What it may do is the server's settings' to say, not its scopes'.
ANONYMOUS = Principal("anonymous", "anonymous", "anonymous")
# A program of this machine, on a server that listens there only and has no admin key.
LOCAL = Principal("local", "local", "local", frozenset({"admin"}))
ADMIN = Principal("admin", "admin", "admin", frozenset({"admin"}))


def check_scope(scope: str) -> None:
    """Raise ValueError when *scope* is none: a word, or an action and a pattern of names."""
    word, _, pattern = scope.partition(":")
    if _SCOPE.fullmatch(scope) is None:
        raise ValueError(f"{scope[:80]!r} is no scope: a word such as 'run', or 'run:PATTERN' for some deployments.")
    if pattern and word not in ACTIONS[:3]:
        raise ValueError(f"{scope[:80]!r}: only run, read and deploy are for some deployments.")


def _allows(scopes: Collection[str], action: str, deployment: str) -> bool:
    if action in scopes:
        return True
    for scope in scopes:
        word, _, pattern = scope.partition(":")
        if word == action and pattern and fnmatchcase(deployment, pattern):
            return True
    return False
