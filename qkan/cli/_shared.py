"""What all commands share: consoles, errors as sentences, and tables."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from qkan.errors import OptionError, QKANError

# Called from a notebook, too, a command writes to the standard streams.
out = Console(force_jupyter=False)
err = Console(stderr=True, force_jupyter=False)


def clean(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors a user can cause into one sentence and exit code 2, and Ctrl-C into exit code 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except QKANError as error:
            err.print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            err.print("interrupted; nothing was written", soft_wrap=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:
            # The reader of a pipe has gone; point stdout elsewhere so that closing it raises nothing.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(141) from None
        except OSError as error:
            place = f" ({error.filename})" if error.filename else ""
            err.print(f"[red]error:[/red] {escape(str(error.strerror or error) + place)}.", soft_wrap=True)
            raise typer.Exit(2) from None
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if os.environ.get("QKAN_DEBUG"):
                raise
            name = f"{type(error).__name__}: {error}".splitlines()[0]
            err.print(
                f"[red]error:[/red] something unforeseen happened ({escape(name)}). "
                "Set QKAN_DEBUG=1 for the details, and please report them.",
                soft_wrap=True,
            )
            raise typer.Exit(70) from None

    return wrapped


def print_text(value: object) -> None:
    """Plain text as it is."""
    out.print(str(value), markup=False, highlight=False, soft_wrap=True)


def widths_of(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise OptionError(f"hidden={text!r} must list whole numbers, such as 4 or 8,4.") from None


def score_table(results: Any) -> RichTable:
    table = RichTable("", *results.metrics, title="Test scores with 95 % intervals", title_justify="left")
    table.box, table.pad_edge = SIMPLE_HEAD, False  # fits into 80 columns
    for key in next(iter(results.metrics.values())):
        table.add_row(key.replace("_", " "), *(str(values[key]) for values in results.metrics.values()))
    return table


def rich_table(frame: Any, title: str) -> RichTable:
    table = RichTable(*(escape(str(name)) for name in frame.columns), title=escape(title), title_justify="left")
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(f"{cell:.6g}" if isinstance(cell, float) else str(cell)) for cell in row))
    return table


def show_warning(message: Any, *_: Any, **__: Any) -> None:
    err.print(f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True)
