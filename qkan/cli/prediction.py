"""``qkan predict``, ``explain`` and ``formula``: what a saved model says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from qkan.cli._shared import clean, err, out, print_text, rich_table
from qkan.errors import OptionError


@clean
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
    numbers = isinstance(loaded, TabularRegressor)
    if numbers and method != "lac":
        raise OptionError(
            f"--method {method} is for classes: {model} predicts numbers, with split-conformal intervals."
        )
    with err.status("predicting"):
        if isinstance(loaded, TabularRegressor):
            table = predict_numbers(loaded, read_rows(rows), level, reorder)
        else:
            table = predict_rows(loaded, read_rows(rows), level, method, top, explain, reorder)
    kind = "intervals" if numbers else "sets"
    out.print(rich_table(table, f"{loaded.target}: prediction {kind} at {100 * level:g} %"))
    if len(table) > explain and top > 0 and not numbers:
        err.print(f"contributions are shown for the first {explain} rows; --explain N shows more")
    if numbers and table[["lower", "upper"]].isin([float("inf"), float("-inf")]).any(axis=None):
        err.print(f"at {100 * level:g} % the intervals are endless: there are too few calibration rows", soft_wrap=True)
    if save is not None:
        write_atomic(save, table.to_csv(index=False).encode())


@clean
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
    print_text(f"rows    {len(results.chosen)} explained by {results.pool.method.replace('_', ' ')} SHAP values")
    out.print(f"page    {escape(str(folder / 'explain.html'))}", soft_wrap=True)


@clean
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
    print_text(text)
    if save is not None:
        write_atomic(save, (text + "\n").encode())
