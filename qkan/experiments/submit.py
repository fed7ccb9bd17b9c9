"""Saved models on their way to a backend: what ``qkan submit`` and ``qkan jobs`` do."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from qkan.circuits import ledger
from qkan.circuits.measured import MeasuredModel
from qkan.circuits.planning import Plan
from qkan.data import read_rows
from qkan.errors import DataError, OptionError
from qkan.models.base import load
from qkan.saving import load_folder
from qkan.tabular import KIND, TabularModel


@dataclass
class Deployable:
    """A saved model and what turns a table into its inputs.

    Attributes:
        network: whose circuits run.
        table: the tabular model around it, if there is one.
    """

    network: nn.Module
    table: TabularModel | None = None

    @classmethod
    def load(cls, path: Path) -> Deployable:
        """From a model folder that ``train`` or ``save`` wrote.

        Raises:
            ModelFileError: missing, damaged or of an unknown kind.
        """
        kind, _, _ = load_folder(path)
        if kind == KIND:
            table = TabularModel.load(path)
            return cls(table.pipeline[-1].network_, table)
        return cls(load(path))

    def inputs(self, rows: Path) -> Tensor:
        """The network's inputs (N, n) for a CSV file.

        Raises:
            DataError: the file is missing or does not have the model's columns.
        """
        frame = read_rows(rows)
        if self.table is not None:
            return self._transformed(frame)
        width = getattr(self.network, "in_features", None)
        if width is None:
            raise DataError(f"a {type(self.network).__name__} takes no rows of a table; leave --rows out.")
        values = frame.apply(pd.to_numeric, errors="coerce")
        if values.shape[1] != width or not np.isfinite(values.to_numpy()).all():
            raise DataError(f"{rows} must have {width} columns of finite numbers, the network's inputs.")
        return torch.tensor(values.to_numpy(float))

    def background(self) -> Tensor | None:
        """Inputs (N, n) that were saved with the model, to compare outputs on; ``None`` where there are none."""
        if self.table is None or self.table.background is None:
            return None
        return self._transformed(self.table.background)

    def _transformed(self, frame: pd.DataFrame) -> Tensor:
        assert self.table is not None
        return torch.as_tensor(self.table.pipeline[0].transform(self.table.conform(frame)))

    def save(self, path: Path, measured: MeasuredModel) -> None:
        """Save the model with its measured network, as what it was.

        Args:
            path: folder to write.
            measured: the network with measured values.
        """
        if self.table is None:
            measured.network.save(path)  # type: ignore[operator]
            return
        table = copy.deepcopy(self.table)
        table.pipeline[-1].network_ = measured.network
        table.save(path)


def check_outputs(plan: Plan, folder: Path | None, picture: Path | None) -> None:
    """Refuse what could not be written after the measurement, before anything is paid for.

    Args:
        plan: of the deployment.
        folder: for the model, or ``None``.
        picture: for the picture, or ``None``.

    Raises:
        OptionError: the model's ``folder`` is a file, the ``picture``'s folder does not exist, or a block would be
            measured for the rows given, which no saved model holds.
    """
    by_rows = [block.name for block in plan.blocks if block.route == "rows"]
    if folder is not None and folder.is_file():
        raise OptionError(f"--out {folder} is a file; a model is saved as a folder.")
    if folder is not None and by_rows:
        raise OptionError(
            f"--out saves models that were measured for every input, but block {by_rows[0]!r} would be measured only "
            "for the rows given; leave out --out or --rows."
        )
    if picture is not None and (picture.is_dir() or not picture.parent.is_dir()):
        raise OptionError(f"--plot {picture} is not a file in an existing folder.")


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words to backend options: whole numbers, decimals, true and false are read as such.

    Raises:
        OptionError: a word without "=".
    """
    found: dict[str, Any] = {}
    for word in given:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise OptionError(f"option {word!r} must be name=value, such as method=density_matrix.")
        found[name] = _parsed(text)
    return found


def _parsed(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_factors(text: str) -> tuple[int, ...]:
    """Fold factors such as "1,3".

    Raises:
        OptionError: they are not whole numbers.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise OptionError(f"fold={text!r} must list odd whole numbers, such as 1,3.") from None


def progress_of(path: Path) -> str:
    """How far a ledger is, in words."""
    _, records = ledger.read(path)
    done = sum(record.status == "done" for record in records)
    return f"{done} of {len(records)} batches planned so far are finished and kept in {path}"


def job_table(path: Path) -> tuple[pd.DataFrame, str]:
    """Every batch of a ledger, and a summary of what was paid and what is pending.

    Raises:
        LedgerError: there is no ledger, or it is damaged.
    """
    settings, records = ledger.read(path)
    table = pd.DataFrame(
        {
            "batch": [record.key for record in records],
            "circuits": [record.circuits for record in records],
            "shots": ["exact" if record.shots is None else record.shots for record in records],
            "status": [record.status for record in records],
            "tries": [record.attempts for record in records],
            "changed": [f"{datetime.fromtimestamp(record.changed):%m-%d %H:%M}" for record in records],
            "job": [_job(record) for record in records],
        }
    )
    counts = {status: _total(records, (status,)) for status in ("done", "failed")}
    pending = _total(records, ("planned", "submitting", "submitted"))
    summary = f"{settings['backend']}: done {counts['done']}; pending {pending}; failed {counts['failed']}"
    return table, summary


def _job(record: ledger.Record) -> str:
    """What went wrong, or the backend's name of the job; those of this process have none but their tag."""
    return record.error or ("" if record.job in (None, record.tag) else str(record.job))


def _total(records: Sequence[ledger.Record], statuses: Sequence[str]) -> str:
    own = [record for record in records if record.status in statuses]
    circuits = sum(record.circuits for record in own)
    shots = sum(record.circuits * (record.shots or 0) for record in own)
    return f"{len(own)} batches, {circuits:,} circuits, {shots:,} shots"
