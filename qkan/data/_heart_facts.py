"""Recorded facts about the heart-disease files: hashes, counts, and the label leak of the 918-row file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from qkan.errors import LeakageWarning

COLUMNS = (
    *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg"),
    *("thalach", "exang", "oldpeak", "slope", "ca", "thal", "num"),
)
"""Columns of every ``processed.*.data`` file, which has no header; the last, ``num``, is the diagnosis."""


@dataclass(frozen=True)
class SiteFacts:
    """What one UCI site file must hold, counted on the file with the recorded sha256."""

    sha256: str
    rows: int
    missing: dict[str, int]
    zero_chol: int
    zero_trestbps: int
    healthy: int
    disease: int
    duplicates: int


def _missing(*counts: int) -> dict[str, int]:
    """Counts in file order from trestbps to thal; age, sex, cp and num are never missing."""
    return dict.fromkeys(COLUMNS, 0) | dict(zip(COLUMNS[3:13], counts, strict=True))


SITES = {
    "cleveland": SiteFacts(
        "a74b7efa387bc9d108d7d0115d831fe9b414b29ae7124f331b622b4efa0427c8",
        rows=303,
        missing=_missing(0, 0, 0, 0, 0, 0, 0, 0, 4, 2),
        zero_chol=0,
        zero_trestbps=0,
        healthy=164,
        disease=139,
        duplicates=0,
    ),
    "hungarian": SiteFacts(
        "d1ad108f785768cd3d7e82dc522e6f5a61eea93cccfb3a46ee8076f73fc3d796",
        rows=294,
        missing=_missing(1, 23, 8, 1, 1, 1, 0, 190, 291, 266),
        zero_chol=0,
        zero_trestbps=0,
        healthy=188,
        disease=106,
        duplicates=1,
    ),
    "switzerland": SiteFacts(
        "834a405ccf5b66ab4056bb77794adc8df0b7125186454c0a1d002d33c6c3b314",
        rows=123,
        missing=_missing(2, 0, 75, 1, 1, 1, 6, 17, 118, 52),
        zero_chol=123,
        zero_trestbps=0,
        healthy=8,
        disease=115,
        duplicates=0,
    ),
    "va": SiteFacts(
        "e7c93d8d0d2acdadfa4c5e8de768e2191e7f618b952e29623f1f0d5949ff6b8f",
        rows=200,
        missing=_missing(56, 7, 7, 0, 53, 53, 56, 102, 198, 166),
        zero_chol=49,
        zero_trestbps=1,
        healthy=51,
        disease=149,
        duplicates=1,
    ),
}

KAGGLE_SHA256 = "948420b084d8a3a0ca42b8419fce9aee175879e43f8aedf712377899a67aa49b"
KAGGLE_LABEL = "HeartDisease"
KAGGLE_COLUMNS = (
    *("Age", "Sex", "ChestPainType", "RestingBP", "Cholesterol", "FastingBS"),
    *("RestingECG", "MaxHR", "ExerciseAngina", "Oldpeak", "ST_Slope", KAGGLE_LABEL),
)
KAGGLE_CATEGORICAL = ("Sex", "ChestPainType", "FastingBS", "RestingECG", "ExerciseAngina", "ST_Slope")
KAGGLE_DISGUISED = ("RestingBP", "Cholesterol")
"""Columns in which 0 stands for a missing value."""
KAGGLE_SITES = (("hungarian", 293), ("switzerland", 123), ("va", 199), ("cleveland", 303))
"""Rows of the 918-row file by origin, in file order."""

LEAKING_CELLS = {
    "ST_Slope": (307, "Up in 192 healthy rows, Flat in 115 diseased rows, without exception"),
    "FastingBS": (90, "0 in 14 healthy rows, 1 in 76 diseased rows, without exception"),
    "ExerciseAngina": (55, "N in 20 healthy rows, Y in 35 diseased rows, without exception"),
    "Oldpeak": (62, "-0.1 to 0.4 in 21 healthy rows, 0.7 to 1.9 in 41 diseased rows"),
}
"""Cells missing in the UCI originals and filled with a value fixed by the label: column -> (cells, rule)."""

LEAK_SENTENCE = (
    "This is the 918-row heart file, in which 387 of 918 rows hold a value imputed from the label, so "
    "random-split scores on it are inflated by about 6 to 8 accuracy points; use qkan.data.load_heart for "
    "honest results."
)


def is_kaggle(columns: Iterable[str]) -> bool:
    """True for the header of the 918-row file, in any column order."""
    return set(columns) == set(KAGGLE_COLUMNS)


def warn_leakage(stacklevel: int = 3) -> None:
    """Emit the :class:`~qkan.errors.LeakageWarning` of the 918-row file."""
    warnings.warn(LEAK_SENTENCE, LeakageWarning, stacklevel=stacklevel)
