"""The words of a benchmark: a scenario holds cases, a case measures metrics of a target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench.fleets import Fleet
from bench.peers import Peer
from bench.servers import Server


@dataclass(frozen=True, slots=True)
class Target:
    """What a case measures: a server that we started, or just an address."""

    label: str
    host: str
    port: int
    seconds: float  # for how long a loop of load runs
    peer: Peer | None = None
    server: Server | None = None

    @property
    def sends_done(self) -> bool:
        """Whether streams must end with [DONE]."""
        return self.peer is None or self.peer.sends_done

    @property
    def key(self) -> str | None:
        """What callers of the server show."""
        return self.peer.key if self.peer is not None else None

    def cpu_s(self) -> float:
        """Processor time used by the server so far; 0 for a mere address."""
        return self.server.cpu_s() if self.server else 0.0


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a case and what is expected of it."""

    key: str
    unit: str
    more_is_better: bool
    goals: Mapping[str, float] = field(default_factory=dict)  # how many times better than that peer ours must be
    limit: float | None = None  # the worst that ours may be
    overheads: Mapping[str, float] = field(default_factory=dict)  # share of ours that the peer may lose at most


Values = dict[str, float]


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to measure. *measure* may return more values than there are metrics: they go into the JSON file."""

    name: str
    measure: Callable[[Target], Values]
    metrics: tuple[Metric, ...]
    fleet: Fleet
    peers: frozenset[str] | None = None  # only these; None: all
    cold: bool = False  # needs a server of its own, just started
    remote: bool = True  # can be measured knowing only an address


@dataclass(frozen=True, slots=True)
class Within:
    """A bound on the ratio of two cases of the same server: ``first / second``."""

    name: str
    key: str
    first: str
    second: str
    at_least: float | None = None
    at_most: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """Cases that belong together; their servers are started together."""

    name: str
    about: str
    cases: tuple[Case, ...]
    within: tuple[Within, ...] = ()
