"""Steps that are tried one after the other, and the table of how each went."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Row:
    """One line of the table. `outcome` is "ok", "FAILED" or "skipped"."""

    name: str
    outcome: str
    seconds: float
    detail: str

    def __str__(self) -> str:
        return f"{self.outcome:<7} {self.name:<24} {self.seconds:7.1f} s  {self.detail[:2000]}"


@dataclass(frozen=True)
class Table(Generic[Subject]):
    """Steps by name; each returns what the table says, or raises. Without those of `needed` the rest makes no sense."""

    steps: Sequence[tuple[str, Callable[[Subject], str]]]
    needed: Collection[str]
    failed: Callable[[Subject, str], None] = lambda subject, name: None

    def run(self, subject: Subject) -> list[Row]:
        """Every step; after one that the rest needs has failed, the rest is skipped."""
        rows: list[Row] = []
        broken = ""
        for name, step in self.steps:
            if broken:
                rows.append(Row(name, "skipped", 0.0, f"needs: {broken}"))
            else:
                rows.append(self._try(name, step, subject))
                broken = name if rows[-1].outcome != "ok" and name in self.needed else ""
            print(rows[-1], flush=True)
        return rows

    def _try(self, name: str, step: Callable[[Subject], str], subject: Subject) -> Row:
        began = time.monotonic()
        try:
            outcome, detail = "ok", step(subject)
        except Exception as error:
            outcome, detail = "FAILED", f"{type(error).__name__}: {error}"
            self.failed(subject, name)
        return Row(name, outcome, time.monotonic() - began, detail)


def verdict(rows: Sequence[Row]) -> int:
    """Print how many passed; the exit status."""
    failed = [row.name for row in rows if row.outcome != "ok"]
    more = f"; not: {', '.join(failed)}" if failed else ""
    print(f"{len(rows) - len(failed)} of {len(rows)} steps passed{more}")
    return 1 if failed else 0


def write_log(path: Path, head: str, rows: Sequence[Row], notes: Sequence[str]) -> None:
    """The table, then everything that was noted."""
    path.write_text("\n".join([head, "", *map(str, rows), "", *notes]) + "\n")
