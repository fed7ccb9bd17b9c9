"""Progress bars on long work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(
    show: bool, label: str, total: int, done: int = 0, stderr: bool = False
) -> Iterator[Callable[[int, str], None]]:
    """A Rich progress bar with the time left, or nothing; yields ``advance(steps, status)``.

    Args:
        show: whether there is one.
        label: stands before it.
        total: steps.
        done: steps that lie behind.
        stderr: draw on stderr, so that what is printed on stdout can be piped on.
    """
    if not show:
        yield lambda steps, status: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[status]}"), console=Console(stderr=stderr)) as bar:
        task = bar.add_task(label, total=total, completed=done, status="")
        yield lambda steps, status: bar.update(task, advance=steps, status=status)
