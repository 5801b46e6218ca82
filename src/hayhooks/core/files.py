"""Files that callers have uploaded: what is known of one, and what a store of them must do."""

import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from hayhooks.core.principal import Principal

_FILE_ID = re.compile(r"file-[0-9a-f]{32}")
_SLASHES = re.compile(r"[/\\]")
# Marks that make a name read otherwise than it is: invoice<mark>fdp.exe shows as invoiceexe.pdf.
_DIRECTION_MARKS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
_UNSEEN = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, half pairs, line breaks
_NAME_BYTES = 255  # of most file systems, for those who write it to one
_SUFFIX_CHARS = 16


@dataclass(frozen=True, slots=True)
class KeptFile:
    """What is known of an uploaded file beside its bytes."""

    file_id: str
    filename: str  # as the caller said it, made safe to show; no path of ours is made of it
    content_type: str | None
    size: int  # bytes
    purpose: str
    created_s: int  # Unix time
    expires_s: int | None = None  # Unix time


class FileStore(Protocol):
    """Keeps uploaded files, each for the caller who brought it."""

    max_file_bytes: int

    def of(self, caller: Principal) -> "HeldFiles":
        """The files that *caller* holds, for an admin all; what is kept there is *caller*'s."""


class HeldFiles(Protocol):
    """The files of one caller; those of others are not there. All methods block and may be called from any thread.

    A crash inside any of them leaves a file kept whole or not at all.
    """

    def keep(
        self,
        content: BinaryIO,
        *,
        filename: str,
        content_type: str | None,
        purpose: str,
        expires_after_s: int | None = None,
    ) -> KeptFile:
        """Keep what *content* holds, from its beginning.

        Raises:
            TooLarge: The file, or all files together, would be larger than allowed.
        """

    def get(self, file_id: str) -> KeptFile:
        """What is known of it. Raises KeptFileNotFound."""

    def open(self, file_id: str) -> tuple[KeptFile, BinaryIO]:
        """The same, and its bytes; they stay readable when it is deleted meanwhile. Raises KeptFileNotFound."""

    def page(
        self, *, limit: int, is_newest_first: bool = True, after: str | None = None, purpose: str | None = None
    ) -> tuple[list[KeptFile], bool]:
        """At most *limit* files that come after the id *after*, and whether there are more.

        *after* may have been deleted since: whoever deletes what a page shows can go on to the next.
        """

    def delete(self, file_id: str) -> None:
        """Forget it. Raises KeptFileNotFound."""


def new_file_id(now_s: float) -> str:
    """An id that nobody can guess; ids sort by the time of their making, in milliseconds."""
    return f"file-{int(now_s * 1000):012x}{secrets.token_hex(10)}"


def is_file_id(text: str) -> bool:
    """Whether *text* can be the id of a kept file."""
    return _FILE_ID.fullmatch(text) is not None


def safe_filename(name: str) -> str:
    """The last part of *name* as something that can be shown and written: no slashes, no control characters.

    At most 255 bytes of UTF-8, its suffix kept; ``file`` when nothing is left.
    """
    name = _SLASHES.split(name)[-1]
    name = "".join(
        char for char in name if char not in _DIRECTION_MARKS and unicodedata.category(char) not in _UNSEEN
    ).strip()
    if name.strip(". ") == "":
        return "file"
    if len(name.encode()) <= _NAME_BYTES:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = dot + suffix if stem and len(suffix) <= _SUFFIX_CHARS else ""
    room = _NAME_BYTES - len(ending.encode())
    return name.removesuffix(ending).encode()[:room].decode(errors="ignore") + ending
