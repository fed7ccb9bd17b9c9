"""Data sets with checks: named ones, any CSV file, and formulas.

>>> from qkan import data
>>> data.names()
('breast_cancer', 'heart')
>>> data.load("breast_cancer").features.shape
(569, 30)
"""

from __future__ import annotations

from qkan.data.breast_cancer import load_breast_cancer
from qkan.data.check import Finding, check
from qkan.data.functions import create_dataset
from qkan.data.heart import load_heart, load_heart_kaggle
from qkan.data.registry import DataSet, describe, load, names
from qkan.data.table import Table, load_csv, read_rows, validate

__all__ = [
    "DataSet",
    "Finding",
    "Table",
    "check",
    "create_dataset",
    "describe",
    "load",
    "load_breast_cancer",
    "load_csv",
    "load_heart",
    "load_heart_kaggle",
    "names",
    "read_rows",
    "validate",
]
