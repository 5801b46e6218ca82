"""The admin key that a server makes for itself when it needs one and has none."""

import shlex
import sys
import time
from pathlib import Path

from hayhooks.core.errors import KeyNameTaken
from hayhooks.core.keys import KeyStore, active_key_named, new_key
from hayhooks.server.guard import is_loopback
from hayhooks.settings import AppSettings
from hayhooks.store.keys import SQLiteKeys

_NAME = "admin"


def needs_stored_admin_key(settings: AppSettings) -> bool:
    """Whether management asks for a key, and the settings give none."""
    return settings.admin_key is None and (not is_loopback(settings.host) or settings.requires_login)


def ensure_admin_key(keys: KeyStore, *, is_needed: bool, now_s: float | None = None) -> str | None:
    """Make an admin key when *is_needed* and none works; what its holder sends, which cannot be had again."""
    if not is_needed:
        return None
    now_s = time.time() if now_s is None else now_s
    known = keys.all()
    if any("admin" in key.scopes and key.state(now_s) == "active" for key in known):
        return None
    name = _NAME
    while active_key_named(known, name, now_s) is not None:
        name += "-"
    key, text = new_key(name, {"admin"}, created_by="server", now_s=now_s)
    try:
        keys.add(key)
    except KeyNameTaken:  # another process of this server was faster, and has shown its own
        return None
    return text


def open_keys(directory: Path, settings: AppSettings) -> SQLiteKeys:
    """The keys in that state directory. A first admin key that the server needs is made, and shown on stderr."""
    keys = SQLiteKeys(directory / "state.db")
    try:
        made = ensure_admin_key(keys, is_needed=needs_stored_admin_key(settings))
    except BaseException:
        keys.close()
        raise
    if made is not None:
        sys.stderr.write(
            _ANNOUNCEMENT.format(key=made, directory=shlex.quote(str(directory)))
        )  # not into the log, which is kept
        sys.stderr.flush()
    return keys


_ANNOUNCEMENT = """
This server asks for an admin key, and has made one. It is shown this once and kept nowhere:

    {key}

Send it as 'Authorization: Bearer <key>', or give it to the command line as HAYHOOKS_ADMIN_KEY.
Another one is made by: hayhooks keys create NAME --scope admin --state-dir {directory}

"""
