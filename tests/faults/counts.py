"""How many faults of each kind were injected into each adapter, and how many came out wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

ADAPTERS = (
    "memory",
    "memory-async",
    "sqlite",
    "postgres",
    "postgres-async",
    "redis",
    "redis-async",
    "cluster",
    "cluster-async",
)
"""The columns of the table: stores first, then schedulers that are no store."""

_WRONG_SHOWN_MAX = 40


def is_in_sample(number: int, every: int) -> bool:
    """Check whether a case is in a sample of every so many-th, evenly strewn over all kinds."""
    # Kinds come in turns, so that every tenth case might always be of the same kind.
    return number * 2_654_435_761 % 2**32 < 2**32 // every


class Tally:
    """Counts faults by group, kind and adapter, and keeps what was wrong."""

    def __init__(self) -> None:
        self.injected: Counter[tuple[str, str, str]] = Counter()
        self.wrong: Counter[tuple[str, str, str]] = Counter()
        self.complaints: list[str] = []
        self.seen: Counter[str] = Counter()

    def add(
        self, group: str, kind: str, adapter: str, complaints: Sequence[str], what: str
    ) -> None:
        """
        Count one fault.

        Arguments:
            group: what sort of campaign it belongs to.
            kind: what the fault was.
            adapter: into what it was injected.
            complaints: what was wrong afterwards; nothing, if all was right.
            what: names the case, for whoever has to find it again.
        """
        self.injected[group, kind, adapter] += 1
        if complaints:
            self.wrong[group, kind, adapter] += 1
            self.complaints.append(f"{what}: {'; '.join(complaints)}")

    def total(self, group: str | None = None) -> int:
        """Return the number injected, of one group or of all."""
        return sum(n for (of, *_), n in self.injected.items() if group in {None, of})

    def check(self) -> None:
        """
        Accept a run in which nothing was wrong.

        Raises:
            AssertionError: something was; the message says what.
        """
        shown = "\n".join(self.complaints[:_WRONG_SHOWN_MAX])
        assert not self.complaints, f"{len(self.complaints)} of {self.total()} wrong:\n{shown}"

    def table(self) -> str:
        """Return the table: fault kind by adapter, injected, and wrong where anything was."""
        groups = list(dict.fromkeys(group for group, *_ in self.injected))
        rows = [["", *ADAPTERS, "injected", "wrong"]]
        for group in groups:
            rows.append([group.upper()])
            kinds = dict.fromkeys(kind for of, kind, _ in self.injected if of == group)
            rows += [self._row(f"  {kind}", group, kind) for kind in kinds]
            rows.append(self._row("  together", group, None))
        rows.append(self._row("ALL", None, None))
        widths = [max(len(row[at]) for row in rows if at < len(row)) for at in range(len(rows[0]))]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(row, widths, strict=False))
            ).rstrip()
            for row in rows
        )

    def _row(self, title: str, group: str | None, kind: str | None) -> list[str]:
        def count(counter: Counter[tuple[str, str, str]], adapter: str | None) -> int:
            return sum(
                number
                for (of, named, into), number in counter.items()
                if group in {None, of} and kind in {None, named} and adapter in {None, into}
            )

        cells = []
        for adapter in ADAPTERS:
            injected, wrong = count(self.injected, adapter), count(self.wrong, adapter)
            cells.append(f"{injected} ({wrong}!)" if wrong else str(injected or "-"))
        return [title, *cells, str(count(self.injected, None)), str(count(self.wrong, None))]
