"""The experiments of ``qkan reproduce``: run what is missing, then write text, numbers and pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from qkan.errors import OptionError, check_choice, check_positive
from qkan.experiments import (
    functions,
    functions_report,
    grid,
    heart_shift,
    kacq_heart,
    kacq_heart_report,
    qkan_lstm,
    qkan_lstm_report,
)

#: Names of the experiments.
EXPERIMENTS = ("qkan-lstm", "kacq-heart", "heart-shift", "functions")
#: Protocols of ``kacq-heart``.
PROTOCOLS = (*kacq_heart.PROTOCOLS, "all")


@dataclass(frozen=True)
class Choices:
    """What of an experiment is run, and how.

    Attributes:
        fast: a small version.
        seeds: of every model; of "kacq-heart" the repetitions of the folds, each with a seed of its own.
        protocol: of "kacq-heart", one of :data:`PROTOCOLS`.
        models: of "kacq-heart", "heart-shift" and "functions", names; empty for the usual ones.
        jobs: processes.
        backend: of joblib, see :data:`qkan.experiments.grid.BACKENDS`.
    """

    fast: bool = False
    seeds: int | None = None
    protocol: str = "honest"
    models: tuple[str, ...] = ()
    jobs: int = 1
    backend: str = "loky"

    def check(self, name: str) -> None:
        """Raise :class:`OptionError` where a value is unknown or does not fit the experiment.

        Raises:
            OptionError: one is out of range, or does not belong to the experiment.
        """
        check_choice("name", name, EXPERIMENTS)
        check_choice("protocol", self.protocol, PROTOCOLS)
        check_choice("backend", self.backend, grid.BACKENDS)
        check_positive("jobs", self.jobs)
        if self.seeds is not None:
            check_positive("seeds", self.seeds)
        if name != "kacq-heart" and self.protocol != "honest":
            raise OptionError(f"protocol is an option of kacq-heart, not of {name}.")
        if name == "qkan-lstm" and self.models:
            raise OptionError("models is an option of kacq-heart, heart-shift and functions, not of qkan-lstm.")

    def command(self, name: str) -> str:
        """The command line that makes the same results; how it was run in parallel is no part of it."""
        words = ["qkan reproduce", name]
        words += ["--fast"] if self.fast else []
        words += [] if self.protocol == "honest" else ["--protocol", self.protocol]
        words += ["--models", ",".join(self.models)] if self.models else []
        words += [] if self.seeds is None else ["--seeds", str(self.seeds)]
        return " ".join(words)


def run(
    name: str, folder: Path, choices: Choices, progress: bool, warn: Callable[[str], None]
) -> tuple[str, list[Path]]:
    """Run what ``folder`` does not hold yet and write the results there.

    Args:
        name: of the experiment.
        folder: keeps every run, and gets the results.
        choices: what the user chose.
        progress: show a progress bar.
        warn: called with a sentence for every warning.

    Returns:
        What was found, in Markdown, and the files written, text first.

    Raises:
        QKANError: an option, a data file or the folder is wrong.
    """
    choices.check(name)
    if name == "kacq-heart":
        return _kacq(folder, choices, progress, warn)
    return {"qkan-lstm": _lstm, "heart-shift": _shift, "functions": _functions}[name](folder, choices, progress)


def _lstm(folder: Path, choices: Choices, progress: bool) -> tuple[str, list[Path]]:
    plan = qkan_lstm.FAST if choices.fast else qkan_lstm.Plan()
    plan = plan if choices.seeds is None else replace(plan, seeds=choices.seeds)
    outcome = qkan_lstm.run(folder / "runs", plan, choices.jobs, progress, choices.backend)
    command = replace(choices, seeds=plan.seeds).command("qkan-lstm")
    _, page, picture = qkan_lstm_report.save(outcome, folder, command, "qkan-lstm")
    return page.read_text(encoding="utf-8"), [page, picture]


def _shift(folder: Path, choices: Choices, progress: bool) -> tuple[str, list[Path]]:
    plan = heart_shift.FAST if choices.fast else heart_shift.Plan()
    plan = plan if choices.seeds is None else replace(plan, seeds=choices.seeds)
    plan = replace(plan, models=choices.models) if choices.models else plan
    results = heart_shift.run(folder / "runs", plan, choices.jobs, progress, choices.backend)
    files = heart_shift.save(results, plan, folder, choices.command("heart-shift"))
    return files[0].read_text(encoding="utf-8"), files


def _functions(folder: Path, choices: Choices, progress: bool) -> tuple[str, list[Path]]:
    plan = functions.FAST if choices.fast else functions.Plan()
    plan = plan if choices.seeds is None else replace(plan, seeds=choices.seeds)
    plan = replace(plan, kinds=choices.models) if choices.models else plan
    outcome = functions.run(folder / "runs", plan, choices.jobs, progress, choices.backend)
    files = functions_report.save(outcome, folder, choices.command("functions"))
    return functions_report.sentences(outcome), files


def _kacq(folder: Path, choices: Choices, progress: bool, warn: Callable[[str], None]) -> tuple[str, list[Path]]:
    plan = kacq_heart.FAST if choices.fast else kacq_heart.Plan()
    known = kacq_heart.PROTOCOLS
    tables = sum(known.values(), ()) if choices.protocol == "all" else known[choices.protocol]
    plan = replace(plan, tables=tables, models=choices.models or plan.models)
    if choices.seeds is not None:
        plan = replace(plan, repeats=dict.fromkeys(plan.repeats, choices.seeds))
    outcome = kacq_heart.run(folder / "runs", plan, choices.jobs, progress, choices.backend, warn)
    name = "kacq-heart-published" if choices.protocol == "published" else "kacq-heart"
    files = kacq_heart_report.save(outcome, folder, choices.command("kacq-heart"), name)
    written = kacq_heart_report.from_json(json.loads(files[1].read_text(encoding="utf-8")))  # rounded as in the text
    return kacq_heart_report.summary(written), files
