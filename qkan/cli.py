"""Command line: ``qkan train``, ``predict``, ``explain``, ``formula``, ``reproduce``, ``submit``, ``data`` and more."""

from __future__ import annotations

import functools
import os
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column
from rich.table import Table as RichTable

from qkan.errors import OptionError, QKANError

app = typer.Typer(
    help="Hybrid quantum-classical Kolmogorov-Arnold networks: train, predict, inspect.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="List and check data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

out = Console()
err = Console(stderr=True)


def _clean(command: Callable[..., None]) -> Callable[..., None]:
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


@app.command()
@_clean
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
    window: Annotated[int, typer.Option(help="Past values that a forecast sees (series).")] = 8,
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
        if group is not None:
            raise OptionError(f"group={group!r} is for tables only: {data} is a series.")
        _train_series(
            data, model, folder, seed, epochs, _widths("4" if hidden is None else hidden), window, option or [], console
        )
        return
    widths = None if hidden is None else _widths(hidden)
    settings = tabular.Settings(model or "qkan", widths, epochs, seed, device, group=group)
    experiment: Any = regression if task == "regression" else tabular
    (regression.check if task == "regression" else tabular.Settings.check)(settings)
    results = experiment.run(load(data, target, data_dir, task, drop or []), settings, folder, console)
    console.print(_score_table(results))
    console.print(
        f"report  {escape(str(folder / 'report.html'))}\nmodel   {escape(str(folder / 'model'))}", soft_wrap=True
    )


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


@app.command()
@_clean
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
        text, files = run(name, place, choices, not quiet, lambda told: _show_warning(told))
    except KeyboardInterrupt:
        told = f"interrupted; finished runs are kept in {escape(str(place))}, the same command goes on"
        err.print(told, soft_wrap=True)
        raise typer.Exit(130) from None
    _print(text)
    for file in files:
        out.print(f"written {escape(str(file))}", soft_wrap=True)


@app.command()
@_clean
def predict(
    model: Annotated[Path, typer.Argument(help="Model folder written by train.")],
    rows: Annotated[Path, typer.Argument(help="CSV file with the model's columns.")],
    level: Annotated[float, typer.Option(help="Confidence level of the prediction sets.")] = 0.9,
    method: Annotated[str, typer.Option(help="lac (on average) or mondrian (within each class).")] = "lac",
    top: Annotated[int, typer.Option(help="Contributions shown per row; 0 skips them.")] = 3,
    explain: Annotated[int, typer.Option(help="Explain at most this many rows.")] = 100,
    reorder: Annotated[bool, typer.Option("--reorder", help="Match columns by name in any order.")] = False,
    save: Annotated[Path | None, typer.Option("--out", help="Also write the predictions to this CSV file.")] = None,
) -> None:
    """Print probability, prediction set and top contributions, or number and interval, for every row of a CSV file."""
    import torch

    from qkan.data import read_rows
    from qkan.experiments.predict import load_model, predict_numbers, predict_rows
    from qkan.saving import write_atomic
    from qkan.tabular_regression import TabularRegressor

    torch.set_num_threads(1)
    loaded = load_model(model)
    if save is not None and (save.is_dir() or not save.parent.is_dir()):
        raise OptionError(f"--out {save} is not a file in an existing folder.")
    with err.status("predicting"):
        if isinstance(loaded, TabularRegressor):
            table = predict_numbers(loaded, read_rows(rows), level, reorder)
        else:
            table = predict_rows(loaded, read_rows(rows), level, method, top, explain, reorder)
    numbers = isinstance(loaded, TabularRegressor)
    kind = "intervals" if numbers else "sets"
    out.print(_rich(table, f"{loaded.target}: prediction {kind} at {100 * level:g} %"))
    if len(table) > explain and top > 0 and not numbers:
        err.print(f"contributions are shown for the first {explain} rows; --explain N shows more")
    if save is not None:
        write_atomic(save, table.to_csv(index=False).encode())


@app.command()
@_clean
def explain(
    model: Annotated[Path, typer.Argument(help="Model folder written by train.")],
    rows: Annotated[Path, typer.Argument(help="CSV file with the model's columns; labels in it are used.")],
    chosen: Annotated[str | None, typer.Option("--rows", help="Such as 1,5,8-10; by default the first five.")] = None,
    folder: Annotated[Path, typer.Option("--out", help="Folder for the page.")] = Path("runs/explain"),
    method: Annotated[
        str, typer.Option(help="auto, exact, permutation, additive (no hidden layer) or expected_gradients (fast).")
    ] = "auto",
    level: Annotated[float, typer.Option(help="Confidence level of the prediction sets.")] = 0.9,
    sets: Annotated[str, typer.Option(help="lac (on average) or mondrian (within each class).")] = "lac",
    reorder: Annotated[bool, typer.Option("--reorder", help="Match columns by name in any order.")] = False,
    lime: Annotated[bool, typer.Option("--lime", help="LIME as well, over ten seeds.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Write a page about chosen rows: probability, prediction set, contributions, nearest training rows."""
    import torch

    from qkan.experiments import explain_page
    from qkan.experiments.explain import Settings

    torch.set_num_threads(1)
    settings = Settings(chosen, method, level, sets, reorder, lime, seed=seed)
    results = explain_page.run(model, rows, settings, folder, show=not quiet)
    _print(f"rows    {len(results.chosen)} explained by {results.pool.method.replace('_', ' ')} SHAP values")
    out.print(f"page    {escape(str(folder / 'explain.html'))}", soft_wrap=True)


@app.command()
@_clean
def formula(
    model: Annotated[Path, typer.Argument(help="Model folder of a KAN, written by train.")],
    rows: Annotated[Path | None, typer.Option(help="CSV file to fit on; by default the rows in the folder.")] = None,
    threshold: Annotated[float, typer.Option(help="Least R² of the function that replaces an edge.")] = 0.9,
    digits: Annotated[int, typer.Option(help="Significant digits.")] = 4,
    reorder: Annotated[bool, typer.Option("--reorder", help="Match columns by name in any order.")] = False,
    save: Annotated[Path | None, typer.Option("--out", help="Also write it to this text file.")] = None,
) -> None:
    """Write a trained KAN as a formula of the table's columns, and say how much it differs from the model."""
    import torch

    from qkan.experiments.formula import write_formula
    from qkan.saving import write_atomic

    torch.set_num_threads(1)
    if save is not None and (save.is_dir() or not save.parent.is_dir()):
        raise OptionError(f"--out {save} is not a file in an existing folder.")
    with err.status("fitting functions to the edges"):
        text = write_formula(model, rows, threshold, digits, reorder)
    _print(text)
    if save is not None:
        write_atomic(save, (text + "\n").encode())


@app.command()
@_clean
def submit(
    model: Annotated[Path, typer.Argument(help="Model folder written by train or save.")],
    backend: Annotated[str, typer.Option(help="torch, aer, ibm, custatevec or pennylane:<device>.")] = "torch",
    shots: Annotated[int | None, typer.Option(help="Per circuit; without, exact values where possible.")] = None,
    noise: Annotated[str | None, typer.Option(help="Device whose noise aer imitates, such as FakeSherbrooke.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Further name=value of the backend; repeatable.")] = None,
    ledger: Annotated[Path | None, typer.Option(help="SQLite file that records every batch.")] = None,
    rows: Annotated[Path | None, typer.Option(help="CSV file: compare outputs on it, measure blocks for it.")] = None,
    readout: Annotated[bool, typer.Option("--readout-mitigation", help="Correct readout errors.")] = False,
    fold: Annotated[str, typer.Option(help="Noise factors for extrapolation to zero, such as 1,3.")] = "1",
    pack: Annotated[
        int | None, typer.Option(help="Circuits side by side; by default what the device suggests.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Circuits in one job at most.")] = 300,
    seed: Annotated[int | None, typer.Option(help="Seed of the shots.")] = None,
    folder: Annotated[Path | None, typer.Option("--out", help="Also save the model with its measured values.")] = None,
    picture: Annotated[Path | None, typer.Option("--plot", help="Also draw measured against exact values.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="State the cost and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before using a real device.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Run a trained model's circuits once on a simulator or a device; say how far it then is from the trained one."""
    from qkan.circuits import backends, deploy
    from qkan.experiments.submit import Deployable, check_outputs, parse_factors, parse_options, progress_of
    from qkan.report import png
    from qkan.saving import write_atomic

    given = {"shots": shots, "seed": seed, "noise": noise}
    options = parse_options(option or []) | {name: value for name, value in given.items() if value is not None}
    loaded = Deployable.load(model)
    inputs = None if rows is None else loaded.inputs(rows)
    run = deploy(
        loaded.network,
        backends.get(backend, **options),
        ledger=ledger,
        rows=inputs,
        readout_mitigation=readout,
        fold_factors=parse_factors(fold),
        pack=pack,
        batch_size=batch_size,
        seed=seed,
        dry_run=True,
        progress=not quiet,
    )
    check_outputs(run.plan(), folder, picture)
    _print(run.plan())
    if dry_run:
        return
    if run.options.backend.capabilities.network and not yes:
        typer.confirm("This runs on a real device and may cost money. Go on?", abort=True, err=True)
    try:
        run.measure()
    except KeyboardInterrupt:
        kept = "nothing was kept" if ledger is None or not ledger.is_file() else progress_of(ledger)
        err.print(f"interrupted; {escape(kept)}; the same command goes on", soft_wrap=True)
        raise typer.Exit(130) from None
    _print(run.report(loaded.background() if inputs is None else inputs))
    if folder is not None:
        loaded.save(folder, run.model)
        out.print(f"model   {escape(str(folder))}", soft_wrap=True)
    if picture is not None:
        write_atomic(picture, png(run.plot()))
        out.print(f"picture {escape(str(picture))}", soft_wrap=True)


@app.command()
@_clean
def jobs(ledger: Annotated[Path, typer.Argument(help="Ledger written by submit.")]) -> None:
    """Show what was paid and what is pending in a ledger."""
    from qkan.experiments.submit import job_table

    frame, summary = job_table(ledger)
    table = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))  # fits into 80 columns
    for name in frame.columns:
        table.add_column(name, no_wrap="job" not in name, overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    out.print(table)
    _print(summary)


@app.command()
@_clean
def info() -> None:
    """List versions, devices, bases and simulation backends."""
    from qkan.experiments.environment import describe

    for title, lines in describe().items():
        table = RichTable(title=title, title_justify="left", show_header=False)
        for name, value in lines:
            table.add_row(escape(name), escape(value))
        out.print(table)


@data_app.command("list")
@_clean
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


@data_app.command("example")
@_clean
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


@data_app.command("check")
@_clean
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


def _print(value: object) -> None:
    """Plain text as it is."""
    out.print(str(value), markup=False, highlight=False, soft_wrap=True)


def _widths(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise OptionError(f"hidden={text!r} must list whole numbers, such as 4 or 8,4.") from None


def _score_table(results: Any) -> RichTable:
    table = RichTable("", *results.metrics, title="Test scores with 95 % intervals", title_justify="left")
    table.box, table.pad_edge = SIMPLE_HEAD, False  # fits into 80 columns
    for key in next(iter(results.metrics.values())):
        table.add_row(key.replace("_", " "), *(str(values[key]) for values in results.metrics.values()))
    return table


def _rich(frame: Any, title: str) -> RichTable:
    table = RichTable(*(escape(str(name)) for name in frame.columns), title=escape(title), title_justify="left")
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    err.print(f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the ``qkan`` command."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _interrupt)
    app()
