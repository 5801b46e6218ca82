"""What a new version changes for those who call it: each difference in one sentence, and whether it breaks callers."""

from collections.abc import Mapping
from dataclasses import dataclass

from hayhooks.core.deployment import Deployment, Entry
from hayhooks.core.json_schema_diff import Schema, Side, compare_schemas

_HOOKS = {
    "run_api": "POST /{name}/run",
    "run_chat_completion": "chat completions",
    "run_response": "responses",
    "run_embedding": "embeddings",
    "run_file_upload": "file uploads",
}


@dataclass(frozen=True, slots=True)
class SchemaChange:
    """One difference for callers. ``path`` is where in the hook's request or answer, as ``$.filters[*].field``."""

    sentence: str
    breaks: bool
    path: str | None = None


def compare(old: Deployment, new: Deployment) -> list[SchemaChange]:
    """The differences between two versions, those that break callers first.

    A request breaks when something that was taken is refused or ignored now, or something new is needed. An answer
    breaks when something that was promised may be missing, or may be of a kind that it never was. Beyond the schemas
    it is hooks, upload fields, the kind of stream, the legacy form, and being an MCP tool.
    """
    changes = []
    for hook in sorted({*old.entries, *new.entries}):
        if hook not in new.entries:
            changes.append(SchemaChange(f"{_hook(hook)} is gone.", breaks=True))
        elif hook not in old.entries:
            changes.append(SchemaChange(f"{_hook(hook)} is new.", breaks=False))
        else:
            changes += _entry_changes(hook, old.entries[hook], new.entries[hook])
    if old.takes_legacy_calls and not new.takes_legacy_calls and "run_pipeline" not in old.entries:
        changes.append(SchemaChange("The legacy form, POST /{name}, is gone.", breaks=True))
    if new.attributes.get("skip_mcp") and not old.attributes.get("skip_mcp"):
        changes.append(SchemaChange("It is no longer an MCP tool.", breaks=True))
    return sorted(changes, key=lambda change: not change.breaks)


def _hook(hook: str) -> str:
    return f"The hook {hook} ({_HOOKS[hook]})" if hook in _HOOKS else f"The hook {hook}"


def _entry_changes(hook: str, old: Entry, new: Entry) -> list[SchemaChange]:
    changes = _upload_changes(hook, old, new) + _stream_changes(hook, old, new)
    changes += _schema_changes(hook, "request", old.request_schema, new.request_schema)
    if old.response_schema is not None and new.response_schema is None:
        text = f"{hook}: the type of the answer, known before, is not declared any more."
        changes.append(SchemaChange(text, breaks=True, path="$"))
    elif old.response_schema is None and new.response_schema is not None:
        changes.append(SchemaChange(f"{hook}: the type of the answer is declared now.", breaks=False, path="$"))
    elif old.response_schema is not None and new.response_schema is not None:
        changes += _schema_changes(hook, "answer", old.response_schema, new.response_schema)
    return changes


def _schema_changes(hook: str, side: Side, old: Schema, new: Schema) -> list[SchemaChange]:
    if old == new:
        return []
    try:
        found = compare_schemas(old, new, side)
    except (AttributeError, LookupError, RecursionError, TypeError, ValueError):
        # A boundary: what a user has written by hand into a model's schema may be no schema at all.
        return [SchemaChange(f"{hook}: the schema of the {side} cannot be compared with the one before.", breaks=True)]
    return [SchemaChange(f"{hook}: {one.path} of the {side} {one.text}.", one.breaks, one.path) for one in found]


def _upload_changes(hook: str, old: Entry, new: Entry) -> list[SchemaChange]:
    changes = []

    def add(field: str, text: str, *, breaks: bool) -> None:
        changes.append(SchemaChange(f"{hook}: the upload {field!r} {text}.", breaks, f"$.{field}"))

    for field in sorted({*old.file_fields, *new.file_fields}):
        is_required = field in new.required_files
        if field not in new.file_fields:
            add(field, "is no longer taken", breaks=True)
        elif field not in old.file_fields:
            add(field, "is new and required" if is_required else "is new, and may be left out", breaks=is_required)
        else:
            if old.file_fields[field] and not new.file_fields[field]:
                add(field, "takes one file, no longer several", breaks=True)
            if new.file_fields[field] and not old.file_fields[field]:
                add(field, "takes several files now", breaks=False)
            if is_required and field not in old.required_files:
                add(field, "is required now", breaks=True)
            if not is_required and field in old.required_files:
                add(field, "may be left out now", breaks=False)
    return changes


def _stream_changes(hook: str, old: Entry, new: Entry) -> list[SchemaChange]:
    if old.streams == new.streams:
        return []
    words: Mapping[str | None, str] = {
        "text": "a stream of text",
        "sse": "server-sent events",
        None: "one whole answer",
    }
    # Without a declared answer, only a call could tell what it was: perhaps the same stream.
    was_known = old.streams is not None or old.response_schema is not None
    before = words[old.streams] if was_known else "what only a call could tell"
    after = words[new.streams] if new.streams or new.response_schema is not None else "what only a call can tell"
    return [SchemaChange(f"{hook}: it answered with {before}, now with {after}.", breaks=was_known)]
