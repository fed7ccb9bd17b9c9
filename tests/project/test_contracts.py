"""The contracts of bases and backends as others use them: from a test file of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
BASIS = """
import torch
from qkan.bases import ClassicalBasis, register
from qkan.testing import BasisContract


@register("cosine_of_one")
class Cosine(ClassicalBasis):
    def __init__(self, in_features=1, out_features=1, *, seed=None):
        super().__init__(in_features, out_features, 1, seed)

    def config(self):
        return {}

    def evaluate(self, x):
        return torch.cos(x)[..., None] + OFFSET


class TestCosine(BasisContract):
    layer_options = {"basis": "cosine_of_one"}

    def make_basis(self, in_features, out_features, **kw):
        return Cosine(in_features, out_features, **kw)

    def dense_reference(self, basis, x):
        return basis.coef[..., 0].double() * torch.cos(x)[..., None, :]
"""

BACKEND = """
from qkan.circuits.backends.torch import TorchBackend
from qkan.testing import BackendContract


class Off(TorchBackend):
    def execute(self, task):
        found = super().execute(task)
        found.values[:] += OFFSET
        return found


class TestOff(BackendContract):
    kind = Off.capabilities

    def make(self, **options):
        return Off(**options)
"""


def verdicts(source: str, offset: float, only: str, folder) -> str:
    file = folder / "test_mine.py"
    file.write_text(source.replace("OFFSET", repr(offset)))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file), "-k", only]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=ENVIRONMENT).stdout


@pytest.mark.parametrize(
    ("source", "only", "shown"),
    [
        (BASIS, "constant_and_duplicated or values_at_anchors", "Tensor-likes are not close"),
        (BACKEND, "exact_values or constants", "assert np.float64(0.0100"),  # not a bare AssertionError
    ],
    ids=["basis", "backend"],
)
def test_a_contract_passes_what_is_right_and_says_what_is_wrong(source, only, shown, tmp_path):
    assert "2 passed" in verdicts(source, 0.0, only, tmp_path)
    wrong = verdicts(source, 0.01, only, tmp_path)
    assert "2 failed" in wrong
    assert shown in wrong


def test_without_pytest_one_sentence_says_what_is_missing():
    code = "import sys; sys.modules['pytest'] = None; import qkan.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stderr.strip().endswith("ImportError: qkan.testing needs the package pytest: pip install pytest.")
