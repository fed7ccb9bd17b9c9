"""LIME: a linear model around each row, and how much it changes with the seed of its samples."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkan.errors import OptionError, ShapeError, check_positive


@dataclass(frozen=True)
class Lime:
    """Weights of LIME's local models over several seeds.

    Attributes:
        values: (rows, features) mean weight over the seeds: how much the class's probability is larger where the
            feature is in the row's own quarter of the background's values, or at the row's own level. NaN where the
            row's number is missing.
        spread: (rows, features) standard deviation of the weights over the seeds.
        fit: (rows,) mean R² of the local models.
        labels: (rows,) number of the explained class.
        features: names.
        seeds: number of seeds.
        samples: rows drawn around each row.
    """

    values: np.ndarray
    spread: np.ndarray
    fit: np.ndarray
    labels: np.ndarray
    features: list[str]
    seeds: int
    samples: int

    @property
    def importance(self) -> np.ndarray:
        """Mean |weight| per feature over the rows where it has one, else NaN; shape (features,)."""
        known = ~np.isnan(self.values)
        sums, counts = np.abs(np.where(known, self.values, 0)).sum(0), known.sum(0)
        return np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)

    @property
    def instability(self) -> np.ndarray:
        """Median over rows of standard deviation / |mean| over seeds, per feature (n,), NaN without weights."""
        with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # a feature without any weight
            return np.nanmedian(self.spread / np.abs(self.values), axis=0)


def lime_values(
    predict: Callable[[pd.DataFrame], np.ndarray],
    background: pd.DataFrame,
    rows: pd.DataFrame,
    labels: Sequence[int] | np.ndarray,
    levels: Mapping[str, Sequence[str]] | None = None,
    *,
    seeds: int = 10,
    samples: int = 1000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Lime:
    """Explain rows by LIME (Ribeiro, Singh, Guestrin 2016) through the ``lime`` package.

    Categorical columns are declared: they are sampled by their levels' frequencies, a missing value being a level of
    its own. Numeric columns are cut at the background's quartiles. LIME knows no missing numbers: a column in which the
    row has none keeps that in every sample and gets no weight; gaps of the background are filled with its median.

    Args:
        predict: table -> (rows, classes) probabilities.
        background: rows that LIME takes the distribution of every column from.
        rows: rows to explain.
        labels: number of the class to explain, per row.
        levels: categorical column -> its levels.
        seeds: repetitions; LIME's random state is set anew for every one and every row.
        samples: rows drawn around each row.
        seed: the first one.
        progress: called with the number of rows done.

    Raises:
        OptionError: the package is not installed.
        ShapeError: columns or labels do not fit.
    """
    explainer_class = import_lime()
    check_positive("samples", samples, 10)
    check_positive("seeds", seeds, 2)
    if list(background.columns) != list(rows.columns) or len(labels) != len(rows) or not len(rows):
        raise ShapeError("background and rows must be non-empty, have the same columns, and every row a label.")
    coder = _Coder(background, levels or {})
    training, coded = coder.encode(background), coder.encode(rows)
    values, spread, fits = np.empty(rows.shape), np.empty(rows.shape), np.empty(len(rows))
    for place, label in enumerate(labels):
        held = [name for name in coder.numeric if pd.isna(rows[name].iloc[place])]
        weights, scores = [], []
        for own_seed in range(seed, seed + seeds):
            explainer = explainer_class(training, random_state=own_seed, **coder.options)
            found = explainer.explain_instance(
                coded[place],
                lambda array, held=held: np.asarray(predict(coder.decode(array, held))),
                labels=(int(label),),
                num_features=rows.shape[1],
                num_samples=samples,
            )
            weights.append([weight for _, weight in sorted(found.local_exp[int(label)])])
            scores.append(found.score[int(label)] if isinstance(found.score, dict) else found.score)
        values[place], spread[place] = np.mean(weights, 0), np.std(weights, 0, ddof=1)
        fits[place] = np.mean(scores)
        for name in held:
            values[place, coder.columns.index(name)] = spread[place, coder.columns.index(name)] = np.nan
        if progress is not None:
            progress(1)
    names = [str(name) for name in coder.columns]
    return Lime(values, spread, fits, np.asarray(labels, dtype=int), names, seeds, samples)


class _Coder:
    """Tables as the numbers LIME works on, and back."""

    def __init__(self, background: pd.DataFrame, levels: Mapping[str, Sequence[str]]):
        self.columns = list(background.columns)
        self.levels = {name: list(levels[name]) for name in self.columns if name in levels}
        self.numeric = [name for name in self.columns if name not in self.levels]
        self.fill = {name: _median(background[name]) for name in self.numeric}
        places = {name: self.columns.index(name) for name in self.levels}
        self.options: dict[str, Any] = {
            "mode": "classification",
            "feature_names": [str(name) for name in self.columns],
            "categorical_features": list(places.values()),
            "categorical_names": {place: [*self.levels[name], "missing"] for name, place in places.items()},
            "feature_selection": "none",
        }

    def encode(self, frame: pd.DataFrame) -> np.ndarray:
        coded = {}
        for name in self.columns:
            if name in self.fill:
                coded[name] = frame[name].astype(float).fillna(self.fill[name]).to_numpy()
            else:
                codes = pd.Categorical(frame[name], categories=self.levels[name]).codes
                coded[name] = np.where(codes < 0, len(self.levels[name]), codes).astype(float)
        return pd.DataFrame(coded).to_numpy(dtype=np.float64)

    def decode(self, array: np.ndarray, held: Sequence[str]) -> pd.DataFrame:
        frame = pd.DataFrame(np.atleast_2d(array), columns=self.columns)
        for name, known in self.levels.items():
            frame[name] = np.array([*known, np.nan], dtype=object)[frame[name].round().astype(int)]
        for name in held:
            frame[name] = np.nan
        return frame


def _median(column: pd.Series) -> float:
    present = column.dropna()
    return float(present.median()) if len(present) else 0.0


def import_lime() -> Any:
    """LIME's explainer of tables, without the warnings of its own dependencies.

    Raises:
        OptionError: the package is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from lime.lime_tabular import LimeTabularExplainer
    except ImportError:
        raise OptionError("LIME needs the package 'lime': pip install 'qkan-toolkit[lime]'.") from None
    return LimeTabularExplainer
