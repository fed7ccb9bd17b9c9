"""Data sets with checks: named ones, any CSV file, formulas, and time series cut into windows.

>>> from qkan import data
>>> data.names()
('breast_cancer', 'heart')
>>> data.load("breast_cancer").features.shape
(569, 30)
>>> series = data.load_series("damped_pendulum")
>>> data.make_windows(series, window=4).train.inputs.shape
(140, 4, 1)
"""

from __future__ import annotations

from qkan.data.breast_cancer import load_breast_cancer
from qkan.data.check import Finding, check
from qkan.data.functions import create_dataset
from qkan.data.generators import bessel, damped_pendulum, delayed_quantum_control, narma
from qkan.data.heart import load_heart, load_heart_kaggle
from qkan.data.milan import read_milan
from qkan.data.registry import DataSet, describe, load, names
from qkan.data.series import Series
from qkan.data.series_registry import SeriesEntry, describe_series, load_series, series_names
from qkan.data.sunspots import read_sunspots
from qkan.data.table import Table, load_csv, read_rows, validate
from qkan.data.windows import Part, Scaler, Windows, make_windows

__all__ = [
    "DataSet",
    "Finding",
    "Part",
    "Scaler",
    "Series",
    "SeriesEntry",
    "Table",
    "Windows",
    "bessel",
    "check",
    "create_dataset",
    "damped_pendulum",
    "delayed_quantum_control",
    "describe",
    "describe_series",
    "load",
    "load_breast_cancer",
    "load_csv",
    "load_heart",
    "load_heart_kaggle",
    "load_series",
    "make_windows",
    "names",
    "narma",
    "read_milan",
    "read_rows",
    "read_sunspots",
    "series_names",
    "validate",
]
