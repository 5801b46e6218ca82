"""Cuts Markdown into statements and picks the ones that answer a question."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

_FENCE = re.compile(r"^\s*(```|~~~)")
_LIST_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+")
_TABLE_RULE = re.compile(r"^\s*\|?[\s:|-]*--[\s:|-]*$")
_CELL_END = re.compile(r"(?<!\\)\|")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9`*\"'(])")
_WORD = re.compile(r"[^\W_]+")
_STOP_WORDS = frozenset(
    _WORD.findall(
        "a about an and any are as at be but by can could do does for from get give has have how i if in into is it "
        "its me my of on or our should so some tell that the their them then there these they this those to us use "
        "was we were what when where which who why will with would you your"
    )
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing that a passage says: a sentence, a list item, a table row or a block of code."""

    text: str
    kind: Literal["sentence", "item", "code"] = "sentence"


def statements(markdown: str) -> list[Statement]:
    """What *markdown* says, in its order. Headings are left out, links keep their text only."""
    found: list[Statement] = []
    paragraph: list[str] = []
    code: list[str] | None = None
    kind: Literal["sentence", "item"] = "sentence"

    def end_paragraph() -> None:
        text = _LINK.sub(r"\1", " ".join(" ".join(paragraph).split()))
        paragraph.clear()
        if kind == "item" and text:
            found.append(Statement(text, "item"))
        else:
            found.extend(Statement(sentence) for sentence in _SENTENCE_END.split(text) if sentence)

    for line in markdown.splitlines():
        if code is not None:
            code.append(line)
            if _FENCE.match(line):
                found.append(Statement("\n".join(code), "code"))
                code = None
        elif _FENCE.match(line):
            end_paragraph()
            code = [line]
        elif not line.strip() or line.startswith(("#", "<")) or _TABLE_RULE.match(line):
            end_paragraph()
            kind = "sentence"
        elif line.lstrip().startswith("|"):
            end_paragraph()
            kind = "item"
            paragraph.append(": ".join(cell.strip() for cell in _CELL_END.split(line) if cell.strip()))
        else:
            if item := _LIST_ITEM.match(line):
                end_paragraph()
                kind = "item"
                line = line[item.end() :]
            paragraph.append(line)
    if code is not None:  # a fence without an end
        found.append(Statement("\n".join(code), "code"))
    end_paragraph()
    return found


def terms(text: str) -> list[str]:
    """The words of *text* that carry meaning, without plural and verb endings."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def best_statements(question: str, passages: Sequence[str], limit: int) -> list[Statement]:
    """At most *limit* statements of *passages* that share most with *question*, in the order of the text.

    A statement scores the sum of the inverse document frequencies of the terms it shares with the question, halved for
    terms that only its passage has, and earlier passages win over later ones by a little. Code is not scored: it comes
    with the statement before it, on top of *limit*.
    """
    wanted = set(terms(question))
    scored: list[tuple[float, int, int]] = []  # score, passage, position
    cut = [statements(passage) for passage in passages]
    weights = _inverse_frequencies(statement.text for passage in cut for statement in passage)
    for number, (passage, said) in enumerate(zip(passages, cut, strict=True)):
        around = wanted & set(terms(passage))
        for position, statement in enumerate(said):
            own = wanted & set(terms(statement.text))
            if statement.kind == "code" or not own:
                continue
            score = sum(weights[term] for term in own) + 0.5 * sum(weights.get(term, 1.0) for term in around - own)
            scored.append((score / (1 + 0.1 * number), number, position))
    picked = sorted(scored, key=lambda row: (-row[0], row[1], row[2]))[:limit]
    places = {(number, place) for _, number, position in picked for place in _with_code(cut[number], position)}
    return [cut[number][place] for number, place in sorted(places)]


def join(answer: Iterable[Statement]) -> str:
    """*answer* as Markdown: sentences in a row, list items on lines of their own, code in blocks."""
    text = ""
    before = ""
    for statement in answer:
        if before and "code" in (before, statement.kind):
            text += "\n\n"
        elif before == statement.kind == "sentence":
            text += " "
        elif before:
            text += "\n" if before == statement.kind else "\n\n"
        text += f"- {statement.text}" if statement.kind == "item" else statement.text
        before = statement.kind
    return text


def _with_code(said: Sequence[Statement], position: int) -> range:
    """Where the statement at *position* is, and the code after it, also when a line such as "Run this:" is between."""
    after = position + 1
    if after < len(said) and said[after].kind != "code" and said[after].text.endswith(":"):
        after += 1
    return (
        range(position, after + 1)
        if after < len(said) and said[after].kind == "code"
        else range(position, position + 1)
    )


def _inverse_frequencies(texts: Iterable[str]) -> dict[str, float]:
    sets = [set(terms(text)) for text in texts]
    counts = Counter(term for found in sets for term in found)
    return {term: math.log(1 + len(sets) / count) for term, count in counts.items()}


def _stem(word: str) -> str:
    # Enough to let "deploying", "deployed" and "deploys" meet "deploy"; a real stemmer would be a dependency.
    for ending in ("ments", "ment", "ings", "ing", "ies", "ed", "es", "s", "e"):  # codespell:ignore ment
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word
