"""The ranges a tuning job searches: from AWS's strings to coordinates of a search and back to strings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Scaling = Literal["Auto", "Linear", "Logarithmic", "ReverseLogarithmic"]


@dataclass(frozen=True)
class IntegerRange:
    """Whole numbers from `low` to `high`, both included."""

    name: str
    low: int
    high: int
    scaling: Scaling = "Auto"

    def to_text(self, coordinate: Any) -> str:
        """The hyperparameter's text for a coordinate of the search."""
        return str(int(coordinate))

    def to_coordinate(self, text: str) -> Any:
        """The coordinate of a hyperparameter's text; raises ValueError when it lies outside the range."""
        value = int(float(text))
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name}={text} lies outside {self.low}..{self.high}")
        return value


@dataclass(frozen=True)
class ContinuousRange:
    """Real numbers from `low` to `high`."""

    name: str
    low: float
    high: float
    scaling: Scaling = "Auto"

    def to_text(self, coordinate: Any) -> str:
        """The hyperparameter's text for a coordinate of the search, never outside the range."""
        value = 1.0 - coordinate if self.scaling == "ReverseLogarithmic" else coordinate
        return repr(float(min(max(value, self.low), self.high)))

    def to_coordinate(self, text: str) -> Any:
        """The coordinate of a hyperparameter's text; raises ValueError when it lies outside the range."""
        value = float(text)
        if not self.low <= value <= self.high:
            raise ValueError(f"{self.name}={text} lies outside {self.low}..{self.high}")
        if self.scaling != "ReverseLogarithmic":
            return value
        return min(max(1.0 - value, 1.0 - self.high), 1.0 - self.low)


@dataclass(frozen=True)
class CategoricalRange:
    """One of a list of texts."""

    name: str
    values: tuple[str, ...]

    def to_text(self, coordinate: Any) -> str:
        """The hyperparameter's text, which is the coordinate itself."""
        return str(coordinate)

    def to_coordinate(self, text: str) -> Any:
        """The text itself; raises ValueError when it is none of the values."""
        if text not in self.values:
            raise ValueError(f"{self.name}={text} is none of {', '.join(self.values)}")
        return text


Range = IntegerRange | ContinuousRange | CategoricalRange


@dataclass(frozen=True)
class SearchSpace:
    """All ranges of one training job definition."""

    ranges: tuple[Range, ...]

    @classmethod
    def from_request(cls, parameter_ranges: Mapping[str, Any] | None) -> SearchSpace:
        """Read the API's ParameterRanges; a number that is none raises ValueError."""
        document = parameter_ranges or {}
        ranges: list[Range] = [
            IntegerRange(r["Name"], int(r["MinValue"]), int(r["MaxValue"]), r.get("ScalingType", "Auto"))
            for r in document.get("IntegerParameterRanges") or ()
        ]
        ranges += [
            ContinuousRange(r["Name"], float(r["MinValue"]), float(r["MaxValue"]), r.get("ScalingType", "Auto"))
            for r in document.get("ContinuousParameterRanges") or ()
        ]
        ranges += [
            CategoricalRange(r["Name"], tuple(dict.fromkeys(r["Values"])))
            for r in document.get("CategoricalParameterRanges") or ()
        ]
        return cls(tuple(ranges))

    @property
    def names(self) -> tuple[str, ...]:
        """The tuned hyperparameters, in order."""
        return tuple(r.name for r in self.ranges)

    @property
    def is_categorical(self) -> bool:
        """Whether every range is a list of values, as Grid wants it."""
        return all(isinstance(r, CategoricalRange) for r in self.ranges)

    @property
    def combinations(self) -> float:
        """How many different hyperparameter sets exist; infinite with a continuous range."""
        total = 1.0
        for r in self.ranges:
            if isinstance(r, CategoricalRange):
                total *= len(r.values)
            elif isinstance(r, IntegerRange):
                total *= r.high - r.low + 1
            elif r.low < r.high:
                return math.inf
        return total

    def to_hyperparameters(self, coordinates: Mapping[str, Any]) -> dict[str, str]:
        """The texts AWS sends for a point of the search."""
        return {r.name: r.to_text(coordinates[r.name]) for r in self.ranges}

    def to_coordinates(self, hyperparameters: Mapping[str, str]) -> dict[str, Any]:
        """The point of a set of texts; ValueError when one is missing or outside its range."""
        absent: Sequence[str] = [name for name in self.names if name not in hyperparameters]
        if absent:
            raise ValueError(f"no value for {', '.join(absent)}")
        return {r.name: r.to_coordinate(hyperparameters[r.name]) for r in self.ranges}
