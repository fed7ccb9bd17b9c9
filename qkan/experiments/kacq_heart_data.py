"""Data sets, folds and preprocessing of ``qkan reproduce kacq-heart``."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.model_selection import RepeatedStratifiedKFold, train_test_split
from sklearn.preprocessing import MinMaxScaler, OrdinalEncoder

from qkan import preprocessing
from qkan.data import _files, load
from qkan.data._heart_facts import SITES
from qkan.data.heart import load_heart, load_heart_kaggle
from qkan.errors import DataError, LeakageWarning, check_choice

#: Recorded at few sites: that a cell is filled in names the hospital, and the 918-row file lacks both.
RARE = ("ca", "thal")
#: Parts of a cross-validation.
FOLDS = 5
#: Of the folds, for every model and data set.
FOLD_SEED = 0

#: Tables, and how they are written in the report.
TITLES = {
    "heart": "Heart disease, four sites, missing values kept",
    "heart-sites": "Heart disease, one site left out",
    "cleveland": "Heart disease, Cleveland",
    "breast_cancer": "Breast cancer",
    "published": "The 918-row file that leaks its label, as published",
}


@dataclass(frozen=True, eq=False)
class Data:
    """Rows of one data set.

    Attributes:
        features: (rows, columns).
        labels: (rows,) 0 or 1.
        categorical: names of the text columns.
        site: (rows,) hospital of each row, or ``None``.
    """

    features: pd.DataFrame
    labels: np.ndarray
    categorical: tuple[str, ...]
    site: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Fold:
    """Row numbers of one split.

    Attributes:
        name: for files and tables.
        seed: of every model trained on it.
        train: rows to fit on, (rows,).
        test: rows to score, (rows,).
    """

    name: str
    seed: int
    train: np.ndarray
    test: np.ndarray


@lru_cache(maxsize=8)
def data_of(table: str) -> Data:
    """The rows of a table; heart files are looked for as :func:`qkan.data.heart.load_heart` does.

    Raises:
        OptionError: an unknown name.
        DataError: a file is missing or damaged.
    """
    check_choice("table", table, TITLES)
    if table == "published":
        return _published()
    if table in ("heart", "heart-sites"):
        found = load_heart()
        assert found.group is not None
        features = found.features.drop(columns=list(RARE))
        once = ~features.assign(site=found.group, label=found.target).duplicated().to_numpy()
        site = found.group.to_numpy()[once]
        features, target = features[once].reset_index(drop=True), found.target[once]
    else:
        found = load_heart(sites="cleveland") if table == "cleveland" else load(table)
        features, target, site = found.features, found.target, None
    labels = np.unique(target.to_numpy(), return_inverse=True)[1]
    if found.name == "heart":
        labels = (target == "disease").to_numpy().astype(int)
    return Data(features, labels, tuple(c for c in found.categorical if c in features), site)


def _published() -> Data:
    file = _files.find("heart.csv", None)
    if file is None:
        raise DataError("the protocol 'published' needs heart.csv; name its folder with --data-dir or QKAN_DATA_DIR.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LeakageWarning)  # the table says it in its title
        found = load_heart_kaggle(file)
    # Zeros that stand for missing values were left as they are.
    features = found.features.fillna(0)
    return Data(features, (found.target == "disease").to_numpy().astype(int), found.categorical)


def folds_of(table: str, repeats: int, group: str = "") -> list[Fold]:
    """The folds of a table, the same for every model; of "published" the one split that ``group`` had.

    Args:
        table: name of the table.
        repeats: repetitions of the cross-validation.
        group: kind of model, for "published".
    """
    data = data_of(table)
    every = np.arange(len(data.labels))
    if table == "published":
        return [_published_fold(data, group)]
    if table == "heart-sites":
        assert data.site is not None
        return [Fold(site, 0, every[data.site != site], every[data.site == site]) for site in SITES]
    splitter = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=FOLD_SEED)
    return [
        Fold(f"{number // FOLDS + 1}.{number % FOLDS + 1}", number // FOLDS, train, test)
        for number, (train, test) in enumerate(splitter.split(every, data.labels))
    ]


def fold_named(table: str, name: str, group: str = "") -> Fold:
    """The fold of that name.

    Args:
        table: name of the table.
        name: of the fold.
        group: kind of model, for "published".
    """
    repeats = int(name.split(".")[0]) if "." in name else 1
    return next(fold for fold in folds_of(table, repeats, group) if fold.name == name)


def _published_fold(data: Data, group: str) -> Fold:
    """Classical models: a stratified fifth, seed 101; hybrids and circuits: 30 %, seed 42; KACQ: stratified."""
    every = np.arange(len(data.labels))
    share, seed = (0.2, 101) if group == "classical" else (0.3, 42)
    stratify = None if group in ("hybrid", "quantum network") else data.labels
    train, test = train_test_split(every, test_size=share, random_state=seed, stratify=stratify)
    return Fold("test", 0, train, test)


def matrices(table: str, fold: Fold, unit_range: bool) -> tuple[np.ndarray, np.ndarray]:
    """Preprocessed training and test rows, (N, n) and (M, n); everything is learnt from the training rows.

    Numeric columns: median imputation, indicators of missing values, zero mean and unit variance. Categorical ones:
    0/1 per level, "missing" among them. ``unit_range`` then scales all to [0, 1]. Of "published": alphabetical codes
    and [0, 1], as published.

    Args:
        table: name of the table.
        fold: training and test rows.
        unit_range: scale to [0, 1] at the end.
    """
    data = data_of(table)
    train, test = data.features.iloc[fold.train], data.features.iloc[fold.test]
    if table == "published":
        coded = list(data.categorical)
        encoder = OrdinalEncoder(categories=[np.unique(data.features[name]) for name in coded]).set_output(
            transform="pandas"
        )
        train = train.assign(**encoder.fit_transform(train[coded]))
        test = test.assign(**encoder.transform(test[coded]))
        return _unit(train.to_numpy(dtype=float), test.to_numpy(dtype=float))
    levels = preprocessing.known_levels(train, data.categorical)
    numeric = [name for name in data.features.columns if name not in levels]
    preprocessor = preprocessing.make_preprocessor(numeric, levels)
    fitted = preprocessor.fit_transform(preprocessing.conform(train, numeric, levels))
    other = preprocessor.transform(preprocessing.conform(test, numeric, levels, unseen="missing"))
    return _unit(fitted, other) if unit_range else (fitted, other)


def _unit(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scaler = MinMaxScaler(clip=True).fit(train)
    return scaler.transform(train), scaler.transform(test)
