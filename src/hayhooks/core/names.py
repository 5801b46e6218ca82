"""Which names a deployment can have."""

import re

from hayhooks.core.errors import InvalidName

RESERVED = frozenset(
    {
        ".well-known", "a2a", "admin", "canary", "chat", "completions", "console", "conversations", "deploy",
        "deploy-yaml", "deploy_files", "deployments", "docs", "docs-assets", "draw", "embeddings", "favicon.ico",
        "files", "health",
        "jobs", "keys", "mcp", "messages", "metrics", "models", "openapi.json", "redoc", "responses", "robots.txt",
        "rollback", "runs", "sse", "static", "status", "undeploy", "v1",
    }
)  # fmt: skip

_NAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9_-])?")


def printable(text: str, limit: int = 200) -> str:
    """*text* of a caller's as it may stand in a log: what could begin a line, or hide or move text, is escaped."""
    cut = text[:limit]
    return cut if cut.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in cut)


def check_name(name: str) -> str:
    """Return *name* when a deployment can have it.

    Letters, digits, ``_``, ``-`` and, inside, ``.``; 1 to 64 characters; none of the server's own path segments.

    Raises:
        InvalidName: With the rule that was broken.
    """
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"{name[:80]!r} cannot be a deployment's name: use 1 to 64 letters, digits, '_' and '-', "
            "and '.' only between them."
        )
    if name.lower() in RESERVED:
        raise InvalidName(f"{name!r} is a reserved name: the server itself answers under /{name}.")
    return name
