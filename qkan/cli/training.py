"""``qkan train`` and ``qkan reproduce``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from qkan.cli._shared import clean, err, out, print_text, score_table, show_warning, widths_of
from qkan.errors import OptionError

#: Past values that a forecast sees, unless chosen.
WINDOW = 8


@clean
def train(
    data: Annotated[
        str, typer.Option(help="A table: breast_cancer, heart, a CSV file; or a series.")
    ] = "breast_cancer",
    target: Annotated[str | None, typer.Option(help="Column to predict (CSV files).")] = None,
    model: Annotated[
        str | None, typer.Option(help="qkan, kan, kacq, kaam, logistic-kan; for series qkan-lstm, lstm …")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the report and the model.")] = Path("runs/latest"),
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    epochs: Annotated[int, typer.Option(help="Passes over the training rows at most.")] = 200,
    task: Annotated[str, typer.Option(help="classification or regression (CSV files).")] = "classification",
    drop: Annotated[list[str] | None, typer.Option(help="Column to leave out (CSV files); repeatable.")] = None,
    hidden: Annotated[str | None, typer.Option(help="Hidden widths such as 8,4; empty: none; default 4.")] = None,
    window: Annotated[int, typer.Option(help="Past values that a forecast sees (series).")] = WINDOW,
    option: Annotated[list[str] | None, typer.Option(help="name=value of the series, e.g. path=…; repeatable.")] = None,
    group: Annotated[str | None, typer.Option(help="Column to report coverage by (tables).")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda (tables).")] = "auto",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the heart-disease files.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no table.")] = False,
) -> None:
    """Train on a table or a series; write a report with intervals or prediction sets, and the model.

    Classes get calibrated prediction sets and SHAP values, numbers conformal intervals, series a forecast with such.
    """
    import torch

    from qkan.data import load, series_names
    from qkan.experiments import regression, tabular

    torch.set_num_threads(1)  # tables this size lose more to thread barriers than they gain
    console = Console(quiet=quiet)
    if data in series_names():
        given: list[tuple[str, Any, Any]] = [
            ("group", group, None),
            ("target", target, None),
            ("drop", drop or None, None),
            ("data-dir", data_dir, None),
            ("task", task, "classification"),
            ("device", device, "auto"),
        ]
        _refuse(given, f"is for tables only: {data} is a series.")
        width = widths_of("4" if hidden is None else hidden)
        _train_series(data, model, folder, seed, epochs, width, window, option or [], console)
        return
    _refuse([("window", window, WINDOW), ("option", option or None, None)], f"is for series only: {data} is a table.")
    widths = None if hidden is None else widths_of(hidden)
    settings = tabular.Settings(model or "qkan", widths, epochs, seed, device, group=group)
    experiment: Any = regression if task == "regression" else tabular
    (regression.check if task == "regression" else tabular.Settings.check)(settings)
    results = experiment.run(load(data, target, data_dir, task, drop or []), settings, folder, console)
    console.print(score_table(results))
    console.print(
        f"report  {escape(str(folder / 'report.html'))}\nmodel   {escape(str(folder / 'model'))}", soft_wrap=True
    )


def _refuse(options: list[tuple[str, Any, Any]], why: str) -> None:
    """Raise for the first option (name, value, default) that was given."""
    for name, value, default in options:
        if value != default:
            shown = ", ".join(value) if isinstance(value, list) else str(value)
            raise OptionError(f"{name}={shown!r} {why}")


def _train_series(
    data: str,
    model: str | None,
    folder: Path,
    seed: int,
    epochs: int,
    hidden: tuple[int, ...],
    window: int,
    option: list[str],
    console: Console,
) -> None:
    from qkan.data import load_series
    from qkan.experiments import series
    from qkan.experiments.submit import parse_options

    if len(hidden) != 1:
        raise OptionError(f"hidden={','.join(map(str, hidden))!r} must be one width for a series, such as 5.")
    settings = series.Settings(model or "qkan-lstm", hidden[0], window, epochs, seed)
    settings.check()
    results = series.run(load_series(data, **parse_options(option)), settings, folder, console)
    table = RichTable("", "parameters", "MSE", "MAE", "R²", title="Test errors, one step ahead", title_justify="left")
    table.box, table.pad_edge = SIMPLE_HEAD, False
    for name, score in results.scores.items():
        table.add_row(name, str(score["trainable"]), *(f"{score[key]:.3g}" for key in ("mse", "mae", "r2")))
    console.print(table)
    for one in results.intervals:
        targets = results.windows.inverse_targets(results.windows.test.targets)
        covered = float(one.covered(targets).mean())
        console.print(f"{one.method}: {100 * covered:.1f} % covered at {100 * one.level:g} %", highlight=False)
    report, saved = folder / "report.html", folder / "model"
    console.print(f"report  {escape(str(report))}\nmodel   {escape(str(saved))}", soft_wrap=True)


@clean
def reproduce(
    name: Annotated[str, typer.Argument(help="qkan-lstm, kacq-heart, heart-shift or functions.")],
    folder: Annotated[Path, typer.Option("--out", help="Folder for runs and tables.")] = Path("runs/reproduce"),
    fast: Annotated[bool, typer.Option("--fast", help="A small version in two minutes.")] = False,
    seeds: Annotated[int | None, typer.Option(help="Seeds of every model; of kacq-heart repetitions of folds.")] = None,
    protocol: Annotated[str, typer.Option(help="Of kacq-heart: honest, published or all.")] = "honest",
    models: Annotated[str, typer.Option(help="Names such as kacq-1,catboost; not of qkan-lstm.")] = "",
    workers: Annotated[int, typer.Option("--jobs", help="Processes.")] = 1,
    backend: Annotated[str, typer.Option(help="Of joblib: loky, threading, dask or ray.")] = "loky",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the heart-disease files.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run an experiment of the literature under an honest protocol; an interrupted one goes on where it was."""
    from qkan.experiments.reproduce import Choices, run

    names = tuple(dict.fromkeys(word.strip() for word in models.split(",") if word.strip()))
    choices = Choices(fast, seeds, protocol, names, workers, backend)
    choices.check(name)
    if data_dir is not None:
        os.environ["QKAN_DATA_DIR"] = str(data_dir.expanduser().resolve())  # worker processes inherit it
    place = folder / (f"{name}-fast" if fast else name)
    try:
        text, files = run(name, place, choices, not quiet, lambda told: show_warning(told))
    except KeyboardInterrupt:
        told = f"interrupted; finished runs are kept in {escape(str(place))}, the same command goes on"
        err.print(told, soft_wrap=True)
        raise typer.Exit(130) from None
    print_text(text)
    for file in files:
        out.print(f"written {escape(str(file))}", soft_wrap=True)
