"""Takes a value of each sort and gives it back."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from hayhooks import BasePipelineWrapper


class Colour(Enum):
    """Of a kettle."""

    RED = "red"
    BLUE = "blue"


class Kettle(BaseModel):
    """Something with parts of its own kind."""

    name: str = Field(min_length=1, max_length=20)
    litres: float = Field(gt=0, le=10)
    colour: Colour = Colour.BLUE
    tags: set[str] = set()
    inner: "Kettle | None" = None


class PipelineWrapper(BasePipelineWrapper):
    """Keeps nothing."""

    def setup(self) -> None:
        """Nothing to build."""
        self.pipeline = None

    def run_api(
        self,
        text: str,
        count: Annotated[int, Field(ge=0, le=100)],
        kettle: Kettle,
        ratio: float = 0.5,
        is_hot: bool = False,
        kind: Literal["tea", "coffee", 3] = "tea",
        colour: Colour | None = None,
        day: date | None = None,
        moment: datetime | None = None,
        patience: timedelta | None = None,
        price: Decimal | None = None,
        key: UUID | None = None,
        numbers: list[int] = [],  # noqa: B006 - a default of a request
        pair: tuple[int, str] | None = None,
        weights: dict[str, float] | None = None,
        either: int | list[str] | None = None,
        anything: Any = None,
    ) -> dict[str, Any]:
        """Give everything back."""
        given = locals()
        return {name: value for name, value in given.items() if name not in ("self", "given")}
