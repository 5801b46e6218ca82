"""The samples of a run of the benchmark, kept as one JSON file."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from bench.cases import Values


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one case of one server."""

    scenario: str
    case: str
    peer: str
    round: int
    values: Values
    failure: str | None = None


@dataclass(slots=True)
class Results:
    """Everything that was measured, and where."""

    machine: dict[str, str | float]
    versions: dict[str, dict[str, str]]
    samples: list[Sample] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Keep one more sample."""
        self.samples.append(sample)

    def middle(self, scenario: str, case: str, peer: str, key: str) -> float | None:
        """The median over the rounds, or None when there is no good one."""
        values = [
            sample.values[key]
            for sample in self.samples
            if (sample.scenario, sample.case, sample.peer) == (scenario, case, peer) and key in sample.values
        ]
        return median(values) if values else None

    def failures(self) -> list[Sample]:
        """The samples that failed."""
        return [sample for sample in self.samples if sample.failure]

    def save(self, path: Path) -> None:
        """Write the JSON file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(data["machine"], data["versions"], [Sample(**sample) for sample in data["samples"]])
