"""An SQL statement that grows: conditions with their values, which are always bound and never part of the text."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Statement:
    """Conditions over `stac_item i` and `record r`, and the values they speak of as `$1`, `$2`, …"""

    values: list[object] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)

    def bind(self, value: object, kind: str) -> str:
        """The placeholder of a value of an SQL type."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def where(self, condition: str) -> None:
        self.conditions.append(condition)

    @property
    def clause(self) -> str:
        return " AND ".join(f"({condition})" for condition in self.conditions) or "true"
