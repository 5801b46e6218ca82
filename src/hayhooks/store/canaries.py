"""The tables of canaries: those that run, what was counted of each, and how the last of each name ended."""

import json
import sqlite3
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hayhooks.core.canary import Canary, Counts, Outcome, Plan, State
from hayhooks.store.sqlite import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS canaries (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    started_s REAL NOT NULL,
    pointer TEXT NOT NULL,      -- the live pointer when it began: a canary is valid beside that alone
    facts TEXT NOT NULL         -- JSON
) STRICT;
CREATE TABLE IF NOT EXISTS canary_counts (
    name TEXT NOT NULL,
    who TEXT NOT NULL,          -- a process
    counts TEXT NOT NULL,       -- JSON
    PRIMARY KEY (name, who)
) STRICT;
CREATE TABLE IF NOT EXISTS canary_outcomes (
    name TEXT PRIMARY KEY,
    facts TEXT NOT NULL         -- JSON
) STRICT;
"""
_CHANGE = "UPDATE canaries SET facts = ? WHERE name = ? AND version = ? AND started_s = ? RETURNING name"
_END = "DELETE FROM canaries WHERE name = ? AND version = ? AND started_s = ? RETURNING name"
# Only of a canary that still runs.
_KEEP_OUTCOME = """
INSERT OR REPLACE INTO canary_outcomes SELECT ?, ?
WHERE EXISTS (SELECT 1 FROM canaries WHERE name = ? AND version = ? AND started_s = ?)
"""
_KEEP_COUNTS = """
INSERT OR REPLACE INTO canary_counts SELECT ?, ?, ?
WHERE EXISTS (SELECT 1 FROM canaries WHERE name = ? AND version = ? AND started_s = ?)
"""


class CanaryTables:
    """Rows in the state database; each change is one transaction, on disk when the method returns. Thread-safe.

    Every method raises OSError when the database does not work.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._database = open_database(path, _SCHEMA)

    def running(self) -> dict[str, tuple[Canary, str]]:
        """Every canary that runs, with the pointer beside which it began, by name."""
        rows = self._change([("SELECT name, facts, pointer FROM canaries", ())])[0]
        return {name: (_canary(json.loads(facts)), pointer) for name, facts, pointer in rows}

    def version_of(self, name: str) -> str | None:
        """The version of the canary of that name, if any runs."""
        rows = self._change([("SELECT version FROM canaries WHERE name = ?", (name,))])[0]
        return str(rows[0][0]) if rows else None

    def set(self, canary: Canary, pointer: str) -> None:
        """Run *canary*; what was counted of another is forgotten."""
        row = (*_key(canary), pointer, json.dumps(asdict(canary)))
        self._change(
            [
                ("DELETE FROM canary_counts WHERE name = ?", (canary.name,)),
                ("INSERT OR REPLACE INTO canaries VALUES (?, ?, ?, ?, ?)", row),
            ]
        )

    def change(self, canary: Canary) -> bool:
        """Write its plan anew; whether it runs."""
        facts = json.dumps(asdict(canary))
        return bool(self._change([(_CHANGE, (facts, *_key(canary)))])[0])

    def end(self, outcome: Outcome) -> bool:
        """Take it out of those that run; whether it was among them."""
        key = _key(outcome.canary)
        facts = json.dumps(asdict(outcome))
        ended = self._change(
            [
                (_KEEP_OUTCOME, (key[0], facts, *key)),
                (_END, key),
                ("DELETE FROM canary_counts WHERE name NOT IN (SELECT name FROM canaries)", ()),
            ]
        )
        return bool(ended[1])

    def end_any(self, name: str, state: State, reason: str) -> None:
        """End the canary of that name whichever it is."""
        known = self.running().get(name)
        if known is not None:
            self.end(Outcome(known[0], state, reason, self.count(known[0], "", None), time.time()))

    def count(self, canary: Canary, who: str, counts: Counts | None) -> Counts:
        """Remember the *counts* of the process *who*, if given; the sum of all others'."""
        name = canary.name
        if counts is not None:
            self._change([(_KEEP_COUNTS, (name, who, json.dumps(asdict(counts)), *_key(canary)))])
        rows = self._change([("SELECT counts FROM canary_counts WHERE name = ? AND who != ?", (name, who))])[0]
        return sum((Counts(**json.loads(found)) for (found,) in rows), Counts())

    def outcome(self, name: str) -> Outcome | None:
        """How the last one ended."""
        rows = self._change([("SELECT facts FROM canary_outcomes WHERE name = ?", (name,))])[0]
        if not rows:
            return None
        facts = json.loads(rows[0][0])
        return Outcome(**{**facts, "canary": _canary(facts["canary"]), "counts": Counts(**facts["counts"])})

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def _change(self, statements: list[tuple[str, tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
        """The rows of each statement; several are one transaction."""
        with self._lock:
            try:
                if len(statements) == 1:
                    return [self._database.execute(*statements[0]).fetchall()]
                self._database.execute("BEGIN IMMEDIATE")
                try:
                    found = [self._database.execute(*statement).fetchall() for statement in statements]
                    self._database.execute("COMMIT")
                except BaseException:
                    self._database.execute("ROLLBACK")
                    raise
                return found
            except sqlite3.Error as error:
                raise OSError(f"The state database does not work: {error}") from error


def _key(canary: Canary) -> tuple[str, str, float]:
    return canary.name, canary.version, canary.started_s


def _canary(facts: dict[str, Any]) -> Canary:
    return Canary(**{**facts, "plan": Plan(**facts["plan"])})
