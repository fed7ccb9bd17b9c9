"""``qkan submit`` and ``qkan jobs``: circuits on quantum backends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable

from qkan.cli._shared import clean, err, out, print_text


@clean
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
    print_text(run.plan())
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
    print_text(run.report(loaded.background() if inputs is None else inputs))
    if folder is not None:
        loaded.save(folder, run.model)
        out.print(f"model   {escape(str(folder))}", soft_wrap=True)
    if picture is not None:
        write_atomic(picture, png(run.plot()))
        out.print(f"picture {escape(str(picture))}", soft_wrap=True)


@clean
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
    print_text(summary)
