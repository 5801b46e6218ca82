"""What may be answered: which versions of a name could be live at which moment."""

import time
from dataclasses import dataclass, field

Version = int | None  # None: nothing is live

_EVER = float("inf")


@dataclass
class Span:
    """A version, and from when to when it may be live."""

    version: Version
    since_s: float
    until_s: float = _EVER


@dataclass
class Truth:
    """The versions of one name that could be live, by when, as far as the one who changes it has been told."""

    spans: list[Span] = field(default_factory=lambda: [Span(None, 0.0)])

    def begin(self, version: Version) -> Span:
        """A change to that version begins: from now on it may be live, beside what was."""
        span = Span(version, time.monotonic())
        self.spans.append(span)
        return span

    def done(self, version: Version) -> None:
        """From now on that version is live everywhere: the change was confirmed, or it was found so."""
        now = time.monotonic()
        last = max((span for span in self.spans if span.version == version), key=lambda span: span.since_s)
        for span in self.spans:
            if span is not last:
                span.until_s = min(span.until_s, now)
        self.spans = [span for span in self.spans if span is last or span.until_s > now - 60]

    def refused(self, span: Span) -> None:
        """The server said that nothing was changed: that version was never live."""
        self.spans = [other for other in self.spans if other is not span]

    def now(self) -> set[Version]:
        """What may be live at this moment."""
        return {span.version for span in self.spans if span.until_s == _EVER}

    def allows(self, version: Version, begun_s: float, ended_s: float) -> bool:
        """Whether that version could be live at some moment of a call."""
        return any(s.version == version and s.since_s <= ended_s and s.until_s >= begun_s for s in self.spans)
