"""What ``qkan explain`` shows: chosen rows of a file one by one, and what the model relies on over many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from qkan._progress import progress_bar
from qkan.analysis import conformal
from qkan.analysis.conformal import check_level, row_hashes
from qkan.analysis.explain import Explanation
from qkan.analysis.explain_plots import shown
from qkan.analysis.importance import Agreement, agreement, permutation_importance
from qkan.analysis.lime import Lime, lime_values
from qkan.analysis.network_shap import is_additive
from qkan.analysis.stability import Stability, resampled_importance, stability
from qkan.errors import DataError, OptionError, check_choice, check_positive
from qkan.tabular import METHODS, TabularModel

#: Rows of the file that the part about all rows needs at least; with fewer it shows the model's background.
FEWEST = 20
#: Rows that LIME and the resamples look at; both cost a multiple of one explanation per row.
SAMPLE = 20


@dataclass(frozen=True)
class Settings:
    """What a page depends on besides the model and the file.

    Attributes:
        rows: numbers of the rows to explain, counted from 1, such as "1,5,8-10"; ``None``: the first five.
        method: of SHAP, see :meth:`qkan.tabular.TabularModel.explain`.
        level: confidence level of the prediction sets.
        sets: "lac" (covers on average) or "mondrian" (within each class).
        reorder: match columns by name in any order.
        lime: explain by LIME as well.
        neighbours: nearest background rows shown per row.
        explained: rows of the file that get SHAP values in the part about all rows, drawn at random if it has more.
        draws: resamples of background and rows.
        seed: of permutations, samples, shuffles and resamples.
    """

    rows: str | None = None
    method: str = "auto"
    level: float = 0.9
    sets: str = "lac"
    reorder: bool = False
    lime: bool = False
    neighbours: int = 5
    explained: int = 100
    draws: int = 20
    seed: int = 0

    def check(self) -> None:
        """Raise :class:`OptionError` if a setting is out of range.

        Raises:
            OptionError: one is out of range.
        """
        check_choice("method", self.method, METHODS)
        check_level(self.level)
        check_choice("sets", self.sets, conformal.METHODS)
        check_positive("neighbours", self.neighbours)
        check_positive("explained", self.explained)
        check_positive("draws", self.draws, 2)
        if check_positive("seed", self.seed, 0) >= 2**32:
            raise OptionError(f"seed={self.seed} must be below 2**32.")


@dataclass
class Results:
    """Everything the page shows. ``pool``: the rows of the part about all rows; ``lime``: of the patients, of the pool.

    Of N patients and C classes: probabilities and sets (N, C); ``labels`` (rows,) of the whole file. A patient is a row
    that was chosen for explanation.
    """

    chosen: list[int]
    labels: np.ndarray | None
    probabilities: np.ndarray
    sets: np.ndarray
    patients: Explanation
    neighbours: list[list[dict[str, Any]]]
    pool: Explanation
    pool_is_file: bool
    lime: tuple[Lime, Lime] | None
    shuffled: pd.DataFrame | None
    agreement: Agreement
    stability: Stability


def explain(
    model: TabularModel,
    frame: pd.DataFrame,
    labels: np.ndarray | None,
    chosen: list[int],
    settings: Settings,
    unlabelled: str = "there are no labels",
    show: bool = False,
) -> Results:
    """Everything the page shows.

    Args:
        model: a calibrated model.
        frame: rows as ``model.conform`` returns them.
        labels: (rows,) true classes, or ``None``.
        chosen: places of the rows to explain one by one.
        settings: how.
        unlabelled: why there are no labels.
        show: whether to show progress.

    Raises:
        DataError: the model has no background rows.
    """
    if model.background is None:
        raise DataError("the model has no background rows; train it again.")
    probabilities = model.predict_proba(frame.iloc[chosen])
    sets = model.predict_set(probabilities, settings.level, settings.sets)
    pool_is_file = len(frame) >= FEWEST
    pool_rows = _some(frame, settings.explained, settings.seed) if pool_is_file else model.background
    patients, sample = frame.iloc[chosen], _some(pool_rows, SAMPLE, settings.seed)
    both = pd.concat([patients, pool_rows], ignore_index=True)
    lime_rows = settings.lime * (len(chosen) + len(sample))
    with progress_bar(show, "explaining", len(both) + settings.draws + lime_rows, stderr=True) as advance:
        report = _reporter(advance)
        report("SHAP", 0)
        explained = model.explain(
            both, seed=settings.seed, method=settings.method, progress=lambda rows: report("SHAP", rows)
        )
        lime: tuple[Lime, Lime] | None = None
        if settings.lime:
            report("LIME", 0)
            lime = _lime(model, patients, settings, report), _lime(model, sample, settings, report)
        report("resamples", 0)
        drawn = _resampled(model, sample, settings, report)
    pool = explained.take(range(len(chosen), len(both)))
    shuffled = None
    if labels is not None:
        found = _shuffled(model, frame, labels, settings.seed)
        shuffled, unlabelled = (None, found) if isinstance(found, str) else (found, "")
    return Results(
        chosen=chosen,
        labels=labels,
        probabilities=probabilities,
        sets=sets,
        patients=explained.take(range(len(chosen))),
        neighbours=nearest(model, patients, settings.neighbours),
        pool=pool,
        pool_is_file=pool_is_file,
        lime=lime,
        shuffled=shuffled,
        agreement=_agreement(model, pool, None if lime is None else lime[1], shuffled, unlabelled),
        stability=stability(pool.features, drawn),
    )


def nearest(model: TabularModel, rows: pd.DataFrame, count: int) -> list[list[dict[str, Any]]]:
    """The background rows nearest to each row, with distance, values, probabilities and label.

    The distance is Euclidean between what the network sees: a numeric column counts in standard deviations of the
    training rows, another level of a categorical one √2, and a value missing from one of the two only 1 more where the
    training rows had gaps in that column.

    Args:
        model: a fitted model.
        rows: as ``model.conform`` returns them.
        count: neighbours per row.
    """
    background = model.background
    assert background is not None
    own, seen = model.inputs(rows), model.inputs(background)
    distances = np.sqrt(((own[:, None] - seen[None]) ** 2).sum(-1))
    probabilities = model.predict_proba(background)
    labels = model.background_labels
    return [
        [
            {
                "background_row": int(place) + 1,
                "distance": float(row[place]),
                "label": None if labels is None else str(labels[place]),
                "probabilities": probabilities[place].tolist(),
                "values": [shown(value) for value in background.iloc[place]],
            }
            for place in np.argsort(row, kind="stable")[:count]
        ]
        for row in distances
    ]


# -- parts -------------------------------------------------------------------------------------------------------------


def _some(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Rows drawn at random, for a file may be sorted; all of them where there are no more."""
    return rows if len(rows) <= count else rows.sample(count, random_state=seed)


def _reporter(advance: Callable[[int, str], None]) -> Callable[[str, int], None]:
    return lambda stage, steps: advance(steps, stage)


def _shuffled(model: TabularModel, frame: pd.DataFrame, labels: np.ndarray, seed: int) -> pd.DataFrame | str:
    """Permutation importance on the rows that were not trained on, or why there is none."""
    fresh = ~np.isin(row_hashes(frame), list(model.trained))
    if fresh.sum() < FEWEST:
        return f"{fresh.sum()} labelled rows were not trained on; at least {FEWEST} are needed"
    return permutation_importance(model.pipeline, frame[fresh], labels[fresh], seed=seed)


def _lime(model: TabularModel, rows: pd.DataFrame, settings: Settings, report: Callable[[str, int], None]) -> Lime:
    assert model.background is not None
    predict = model.pipeline.predict_proba
    return lime_values(
        predict,
        model.background,
        rows,
        predict(rows).argmax(1),
        model.levels,
        seed=settings.seed,
        progress=lambda steps: report("LIME", steps),
    )


def _resampled(
    model: TabularModel, rows: pd.DataFrame, settings: Settings, report: Callable[[str, int], None]
) -> np.ndarray:
    """Importances on resamples, by permutation where the rows were explained exactly: many times, so cheaply."""
    assert model.background is not None
    method = settings.method
    if method == "auto":
        method = "additive" if is_additive(model.pipeline[-1].network_) else "permutation"
    method = "permutation" if method == "exact" else method
    return resampled_importance(
        lambda seen, own: model.explain(own, seed=settings.seed, method=method, background=seen, rounds=2),
        model.background,
        rows,
        draws=settings.draws,
        seed=settings.seed,
        progress=lambda steps: report("resamples", steps),
    )


def _agreement(
    model: TabularModel, pool: Explanation, lime: Lime | None, shuffled: pd.DataFrame | None, unlabelled: str
) -> Agreement:
    measures: dict[str, Any] = {"SHAP": pool.importance}
    left_out = {}
    if lime is None:
        left_out["LIME"] = "not asked for; --lime adds it"
    else:
        measures["LIME"] = lime.importance
    if shuffled is None:
        left_out["permutation importance"] = unlabelled
    else:
        measures["permutation importance"] = shuffled.set_index("feature")["importance"][pool.features].to_numpy()
    edges = model.edge_importance()
    if edges is None:
        left_out["edge functions"] = "the network does not begin with one KAN layer on the row"
    else:
        measures["edge functions"] = edges
    return agreement(pool.features, measures, left_out)
