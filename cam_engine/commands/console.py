"""What the commands show: a live bar on a terminal, plain lines in a log, a table at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cam_engine.pictures.recipes import Failed, Row
from cam_engine.short_names import speakable
from cam_engine.stores.access import with_addresses

_SECONDS_BETWEEN_LOG_LINES = 10.0
_LOG_COLUMNS = 160

Advance = Callable[[Row], None]


@dataclass(frozen=True, slots=True)
class ModelResult:
    """A line of the table: counts and seconds of one classifier, or the code of its error."""

    model: str
    images: int = 0
    failed: int = 0
    resumed: int = 0
    correct: int = 0
    known: int = 0
    seconds: float = 0.0
    error: str | None = None


def wide_console(*, stderr: bool = False) -> RichConsole:
    """A console that does not break lines, neither on a terminal nor in a log."""
    console = RichConsole(stderr=stderr, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = _LOG_COLUMNS
    return console


class Console:
    """Messages on standard output; where that holds `--json`'s answer alone, on standard error."""

    def __init__(self, *, quiet: bool, json_output: bool) -> None:
        self.json_output = json_output
        self._quiet = quiet
        self._out = wide_console(stderr=json_output)
        self._errors = wide_console(stderr=True)

    def experiment(self, name: str, models: int, images: int) -> None:
        """Say what is about to run."""
        self._say(f"{name}: {_count(models, 'classifier')}, {_count(images, 'test image')}")

    def written(self, folder: Path) -> None:
        """Say where the figures are."""
        self._say(f"figures in {folder}")

    def replaced(self, model: str, pictures: int) -> None:
        """Say that pictures which another recipe made were removed; nothing where none were."""
        if pictures:
            self._say(f"{model}: {_count(pictures, 'picture')} of another recipe removed")

    def notices(self, said: Sequence[str]) -> None:
        """Say what was assumed of models and images, after a run."""
        for line in said:
            self._say(f"notice: {line}")

    def problem(self, where: str, code: str, detail: str) -> None:
        """Say what went wrong with one part while the rest goes on; also when quiet."""
        said = speakable(f"{where}: error [{code}]: {detail}")
        self._errors.print(with_addresses(said), markup=False)

    def skipped(self, where: str, words: str) -> None:
        """Say what was left out, and why; where: what it was left out of, "" where that is plain.

        Nothing where nothing was.
        """
        if words:
            self._say(f"{where}: skipped: {words}" if where else f"skipped: {words}")

    def folders_of_no_class(self, models: str, words: str) -> None:
        """Say which folders of images name no class of these models."""
        self._say(f"folders that are no class of {models}: {words}")

    @contextmanager
    def progress(self, model: str, total: int) -> Iterator[Advance]:
        """A callback that takes each row as it is done."""
        if self._quiet:
            yield self._only_failures(model)
        elif self._out.is_terminal:
            with self._bar(model, total) as advance:
                yield advance
        else:
            yield self._lines(model, total)

    def table(self, results: Sequence[ModelResult]) -> None:
        """A line a classifier: images, accuracy where true classes are known, time."""
        if self._quiet or not results:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("classifier")
        for name in ("images", "failed", "correct", "seconds", "images/s"):
            table.add_column(name, justify="right")
        for result in results:
            table.add_row(*_cells(result))
        self._out.print(table)

    def _say(self, text: str) -> None:
        if not self._quiet:
            self._out.print(with_addresses(speakable(text)), markup=False)

    @contextmanager
    def _bar(self, model: str, total: int) -> Iterator[Advance]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
        )
        with Progress(*columns, console=self._out, transient=True) as progress:
            task = progress.add_task(model, total=total)
            complain = self._only_failures(model)

            def advance(row: Row) -> None:
                complain(row)
                progress.advance(task)

            yield advance

    def _lines(self, model: str, total: int) -> Advance:
        complain = self._only_failures(model)
        done, last = 0, time.monotonic()

        def advance(row: Row) -> None:
            nonlocal done, last
            complain(row)
            done += 1
            now = time.monotonic()
            if done == total or now - last > _SECONDS_BETWEEN_LOG_LINES:
                last = now
                self._say(f"{model}: {done}/{total}")

        return advance

    def _only_failures(self, model: str) -> Advance:
        def advance(row: Row) -> None:
            if isinstance(row, Failed):
                self.problem(f"{model}: {row.image}", row.code, row.detail)

        return advance


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _cells(result: ModelResult) -> tuple[str, ...]:
    if result.error is not None:
        return (result.model, f"[red]{result.error}[/red]", "", "", "", "")
    share = f" ({result.correct / result.known:.0%})" if result.known else ""
    of_how_many = f", {result.known} of {result.images} known"
    said = f"{result.correct}/{result.known}{share}"
    made = result.images + result.failed - result.resumed
    return (
        result.model,
        str(result.images) + (f" ({result.resumed} kept)" if result.resumed else ""),
        str(result.failed),
        said + of_how_many * (result.known < result.images) if result.known else "n/a",
        f"{result.seconds:.1f}",
        f"{made / result.seconds:.1f}" if result.seconds > 0 and made else "",
    )
