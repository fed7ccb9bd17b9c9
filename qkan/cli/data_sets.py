"""``qkan data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from qkan.cli._shared import clean, out


@clean
def data_list() -> None:
    """List the named data sets and time series."""
    from qkan.data import describe, describe_series

    table = RichTable("name", "rows", "features", "classes", "source")
    for entry in describe():
        table.add_row(entry.name, str(entry.rows), str(entry.features), str(entry.classes), escape(entry.source))
    out.print(table)
    table = RichTable(Column("series", no_wrap=True), "points", "channels", "origin")
    for series in describe_series():
        table.add_row(*(escape(cell) for cell in series))
    out.print(table)


@clean
def data_example(
    name: Annotated[str, typer.Argument(help="alloys.")],
    file: Annotated[Path, typer.Option("--out", help="CSV file to write; a page about it is written beside it.")],
    rows: Annotated[int, typer.Option(help="Number of rows.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
) -> None:
    """Write a generated table to try things on, and a page that says what its columns are."""
    from qkan.experiments import example_tables

    for written in example_tables.write(name, file, rows, seed):
        out.print(f"written {escape(str(written))}", soft_wrap=True)
    out.print("The rows are generated and say nothing about real ones.")


@clean
def data_check(
    name: Annotated[str, typer.Argument(help="A named data set, or the path of a CSV file.")],
    target: Annotated[str | None, typer.Option(help="Column with the labels (CSV files).")] = None,
    split: Annotated[str | None, typer.Option(help="Column that names each row's part, such as train or test.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the heart-disease files.")] = None,
) -> None:
    """Check a data set or CSV file for missing values, duplicates, damage and values that leak the label."""
    from qkan.data import check

    colors = {"ok": "green", "info": "blue", "warning": "yellow", "error": "red"}
    findings = check(name, target, split=split, data_dir=data_dir)
    for finding in findings:
        out.print(f"[{colors[finding.level]}]{finding.level:8}[/]{escape(finding.message)}", soft_wrap=True)
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(2)
