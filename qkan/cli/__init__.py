"""Command line: ``qkan train``, ``predict``, ``explain``, ``formula``, ``reproduce``, ``submit``, ``data`` and more."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from typing import Any

import typer
from rich.markup import escape
from rich.table import Table as RichTable

from qkan.cli._shared import clean, out, show_warning
from qkan.cli.data_sets import data_check, data_example, data_list
from qkan.cli.prediction import explain, formula, predict
from qkan.cli.quantum import jobs, submit
from qkan.cli.training import reproduce, train


@clean
def info() -> None:
    """List versions, devices, bases and simulation backends."""
    from qkan.experiments.environment import describe

    for title, lines in describe().items():
        table = RichTable(title=title, title_justify="left", show_header=False)
        for name, value in lines:
            table.add_row(escape(name), escape(value))
        out.print(table)


#: The program ``qkan``.
app = typer.Typer(
    help="Hybrid quantum-classical Kolmogorov-Arnold networks: train, predict, inspect.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
#: ``qkan data`` and its commands.
data_app = typer.Typer(help="List and check data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
for command in (train, reproduce, predict, explain, formula, submit, jobs, info):
    app.command()(command)
for name, command in (("list", data_list), ("example", data_example), ("check", data_check)):
    data_app.command(name)(command)


def _interrupt(number: int, frame: Any) -> None:
    """Raise, but not inside a callback of the kernels' compiler, where it would be lost: there, come again."""
    if frame is not None and "llvmlite" in frame.f_code.co_filename:
        again = threading.Timer(0.1, os.kill, (os.getpid(), number))
        again.daemon = True
        again.start()
        return
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the ``qkan`` command."""
    warnings.showwarning = show_warning
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell asks for what runs in the background
        signal.signal(signal.SIGINT, _interrupt)
    app()
