"""The tables of canaries: those that run, what was counted of each, and how the last of each name ended."""

import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from hayhooks.core.canary import Canary, Counts, Outcome, Plan, State
from hayhooks.store.sqlite import Database, open_database
from hayhooks.store.state import state_failed

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
        self._database = Database(partial(open_database, path, _SCHEMA), state_failed)

    def running(self) -> dict[str, tuple[Canary, str]]:
        """Every canary that runs, with the pointer beside which it began, by name."""
        rows = self._database.rows("SELECT name, facts, pointer FROM canaries")
        return {name: (_canary(json.loads(facts)), pointer) for name, facts, pointer in rows}

    def version_of(self, name: str) -> str | None:
        """The version of the canary of that name, if any runs."""
        rows = self._database.rows("SELECT version FROM canaries WHERE name = ?", (name,))
        return str(rows[0][0]) if rows else None

    def set(self, canary: Canary, pointer: str) -> None:
        """Run *canary*; what was counted of another is forgotten."""
        row = (*_key(canary), pointer, json.dumps(asdict(canary)))
        with self._database.changing() as connection:
            connection.execute("DELETE FROM canary_counts WHERE name = ?", (canary.name,))
            connection.execute("INSERT OR REPLACE INTO canaries VALUES (?, ?, ?, ?, ?)", row)

    def change(self, canary: Canary) -> bool:
        """Write its plan anew; whether it runs."""
        facts = json.dumps(asdict(canary))
        return bool(self._database.rows(_CHANGE, (facts, *_key(canary))))

    def end(self, outcome: Outcome) -> bool:
        """Take it out of those that run; whether it was among them."""
        key = _key(outcome.canary)
        facts = json.dumps(asdict(outcome))
        with self._database.changing() as connection:
            connection.execute(_KEEP_OUTCOME, (key[0], facts, *key))
            ended = connection.execute(_END, key).fetchall()
            connection.execute("DELETE FROM canary_counts WHERE name NOT IN (SELECT name FROM canaries)")
        return bool(ended)

    def end_any(self, name: str, state: State, reason: str) -> None:
        """End the canary of that name whichever it is."""
        known = self.running().get(name)
        if known is not None:
            self.end(Outcome(known[0], state, reason, self.count(known[0], "", None), time.time()))

    def count(self, canary: Canary, who: str, counts: Counts | None) -> Counts:
        """Remember the *counts* of the process *who*, if given; the sum of all others'."""
        name = canary.name
        if counts is not None:
            self._database.rows(_KEEP_COUNTS, (name, who, json.dumps(asdict(counts)), *_key(canary)))
        rows = self._database.rows("SELECT counts FROM canary_counts WHERE name = ? AND who != ?", (name, who))
        return sum((Counts(**json.loads(found)) for (found,) in rows), Counts())

    def outcome(self, name: str) -> Outcome | None:
        """How the last one ended."""
        rows = self._database.rows("SELECT facts FROM canary_outcomes WHERE name = ?", (name,))
        if not rows:
            return None
        facts = json.loads(rows[0][0])
        return Outcome(**{**facts, "canary": _canary(facts["canary"]), "counts": Counts(**facts["counts"])})

    def close(self) -> None:
        """Close the database."""
        self._database.close()


def _key(canary: Canary) -> tuple[str, str, float]:
    return canary.name, canary.version, canary.started_s


def _canary(facts: dict[str, Any]) -> Canary:
    return Canary(**{**facts, "plan": Plan(**facts["plan"])})
