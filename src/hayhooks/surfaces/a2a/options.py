"""What the server's owner decides about agents, handed in as plain values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class A2AOptions:
    """Where tasks are kept and how much of them, who may be called, and where agents are."""

    database: Path
    prepare: Callable[[Path], None]  # makes the database's file, ready for several processes; blocks
    is_gone: Callable[[int], bool]  # whether the process of that id has ended
    finish_s: float  # that runs without a caller may take to end when the server stops
    max_age_s: float
    max_count: int
    max_bytes: int
    external_url: str = ""
    speaks_0_3: bool = True
    push_hosts: Sequence[str] = field(default_factory=list)
    openid_url: str | None = None
