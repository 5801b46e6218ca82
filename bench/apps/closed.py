"""The repository's own server, closed: runs need a key, and the one that the benchmark shows has scopes and limits."""

import argparse
import hashlib
import os
import sys
from pathlib import Path

KEY = "hay_benchmark000_" + "k" * 40
_PLENTY = 10_000_000  # a minute: all is counted, and nothing refused


def main() -> None:
    """Write the key into the state database, then become the server."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", required=True)
    parser.add_argument("--dir", type=Path, required=True)
    options = parser.parse_args()
    state = options.dir.parent / "state"
    state.mkdir()
    _make_key(state / "state.db")
    os.environ |= {"HAYHOOKS_REQUIRE_LOGIN": "true", "HAYHOOKS_STATE_DIR": str(state)}
    command = ["-m", "hayhooks", "run", "--host", "127.0.0.1", "--port", options.port, "-d", str(options.dir)]
    os.execv(sys.executable, [sys.executable, *command])


def _make_key(database: Path) -> None:
    from hayhooks.core.keys import APIKey, id_in
    from hayhooks.store.keys import SQLiteKeys

    store = SQLiteKeys(database)
    digest = hashlib.sha256(KEY.encode()).digest()
    scopes = frozenset({"read", "run:noop*", "run:echo*"})
    store.add(APIKey(id_in(KEY.encode()).decode(), "bench", scopes, digest, 0, "bench", None, None, _PLENTY, 1000))
    store.close()


if __name__ == "__main__":
    main()
