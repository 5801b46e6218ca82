"""API keys as the server tells of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hayhooks.client.errors import BrokenAnswer


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What is known of an API key; times are Unix times."""

    id: str
    name: str
    state: str  # "active", "expired" or "revoked"
    scopes: tuple[str, ...]
    created_at: int
    created_by: str | None
    expires_at: int | None
    revoked_at: int | None
    requests_per_minute: int | None
    max_concurrent_runs: int | None
    raw: Mapping[str, Any] = field(repr=False)  # the server's answer as it came


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new API key. ``key`` is what its holder sends; the server does not tell it again."""

    info: KeyInfo
    key: str = field(repr=False)


def key_info(body: Mapping[str, Any]) -> KeyInfo:
    """The key in an answer. Raises BrokenAnswer."""
    if not {"id", "name", "state", "created_at"} <= body.keys():
        raise BrokenAnswer("The answer describes no API key. Is it Hayhooks?")
    return KeyInfo(
        str(body["id"]), str(body["name"]), str(body["state"]), tuple(body.get("scopes") or ()), body["created_at"],
        body.get("created_by"), body.get("expires_at"), body.get("revoked_at"), body.get("requests_per_minute"),
        body.get("max_concurrent_runs"), {name: value for name, value in body.items() if name != "key"},
    )  # fmt: skip
