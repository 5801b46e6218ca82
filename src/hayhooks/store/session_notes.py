"""What the workers of one server tell each other of their clients' sessions: which have ended, what to stop.

Rows in the database of the state. A client's requests go to whichever worker takes the connection.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from hayhooks.store.sqlite import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS session_notes (
    serial INTEGER PRIMARY KEY AUTOINCREMENT,
    session TEXT NOT NULL,
    request TEXT,                -- JSON of its id; NULL: the session has ended
    noted_s REAL NOT NULL
) STRICT;
"""
_KEPT_S = 3600.0

Note = tuple[str, str | int | None]  # session, and the request to stop; None: all of it


class SessionNotes:
    """Writes notes and reads those of others. Thread-safe; ``news`` never waits for a writer."""

    def __init__(self, state_dir: Path) -> None:
        self._lock = threading.Lock()
        self._database = open_database(state_dir / "state.db", _SCHEMA, is_durable=False)
        # The counter tells of changes by other connections only.
        self._watching = open_database(state_dir / "state.db", "", is_durable=False)
        self._counter = -1
        row = self._watching.execute("SELECT coalesce(max(serial), 0) FROM session_notes").fetchone()
        self._seen: int = row[0]

    def post(self, session: str, request: str | int | None) -> None:
        """Tell the other workers. Blocks; raises OSError when it cannot be written."""
        now_s = time.time()
        try:
            with self._lock, self._database:
                self._database.execute(
                    "INSERT INTO session_notes (session, request, noted_s) VALUES (?, ?, ?)",
                    (session, None if request is None else json.dumps(request), now_s),
                )
                self._database.execute("DELETE FROM session_notes WHERE noted_s < ?", (now_s - _KEPT_S,))
        except sqlite3.Error as error:
            raise OSError(f"The other workers cannot be told: {error}") from error

    def news(self) -> Sequence[Note]:
        """What has been noted since the last call; microseconds when there is nothing. Event loop only."""
        try:
            (counter,) = self._watching.execute("PRAGMA data_version").fetchone()
            if counter == self._counter:
                return ()
            self._counter = counter
            rows = self._watching.execute(
                "SELECT serial, session, request FROM session_notes WHERE serial > ? ORDER BY serial", (self._seen,)
            ).fetchall()
        except sqlite3.Error:  # it is asked again in a moment
            return ()
        if rows:
            self._seen = rows[-1][0]
        return [(session, None if request is None else json.loads(request)) for _, session, request in rows]

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()
            self._watching.close()
