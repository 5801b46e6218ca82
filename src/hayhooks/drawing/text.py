"""Text for drawings: the font that Pillow brings, and what to do about characters it lacks."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ELLIPSIS = "..."
# Looked up by name in the system's font folders, only for text the bundled font cannot show.
_WIDER_FONTS = ("NotoSansCJK-Regular.ttc", "DejaVuSans.ttf", "Arial Unicode.ttf", "msyh.ttc", "arial.ttf")
_PLAIN = {"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "→": "->"}  # noqa: RUF001


def clean(text: str, max_chars: int) -> str:
    """*text* on one line, printable, and at most *max_chars* long with its end left out."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text[: 4 * max_chars]).split())
    return line if len(line) <= max_chars else line[: max_chars - len(ELLIPSIS)].rstrip() + ELLIPSIS


@lru_cache(maxsize=4096)
def drawable(text: str, size: float) -> tuple[str, Font]:
    """*text* and a font of *size* pixels that shows all of it, or the nearest plain letters."""
    if text.isascii():
        return text, _bundled(size)
    for name in _WIDER_FONTS:
        font = _system(name, size)
        if font and all(_shows(font, char) for char in set(text)):
            return text, font
    plain = unicodedata.normalize("NFKD", "".join(_PLAIN.get(char, char) for char in text))
    return "".join(char if char.isascii() else "?" for char in plain if not unicodedata.combining(char)), _bundled(size)


def text_width(text: str, size: float) -> float:
    """Measure the pixels that *text* takes at *size*."""
    shown, font = drawable(text, size)
    return font.getlength(shown)


@lru_cache(maxsize=64)
def _bundled(size: float) -> Font:
    return ImageFont.load_default(size)


@lru_cache(maxsize=64)
def _system(name: str, size: float) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, size)
    except OSError:
        return None


def _shows(font: ImageFont.FreeTypeFont, char: str) -> bool:
    missing = font.getmask("\uffff")
    found = font.getmask(char)
    return found.size != missing.size or bytes(found) != bytes(missing)
