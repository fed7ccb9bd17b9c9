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
        (BACKEND, "exact_values or constants", "assert np.float64("),  # not a bare AssertionError
    ],
    ids=["basis", "backend"],
)
def test_a_contract_passes_what_is_right_and_says_what_is_wrong(source, only, shown, tmp_path):
    assert "2 passed" in verdicts(source, 0.0, only, tmp_path)
    wrong = verdicts(source, 0.01, only, tmp_path)
    assert "2 failed" in wrong
    assert shown in wrong


def test_a_contract_runs_without_a_test_file(tmp_path):
    script = tmp_path / "script.py"
    ends = "\nfrom qkan.testing import run_contract\nTestOff.seeds = [0]\nprint(run_contract(TestOff))\n"
    ends += "try:\n    run_contract(Off)\nexcept ValueError as error:\n    print(error)\n"
    script.write_text(BACKEND.replace("OFFSET", "0.0") + ends)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT)
    first, second = done.stdout.splitlines()
    assert first.endswith(" passed, 0 failed, 0 do not apply")
    assert int(first.split()[0]) >= 10
    assert second.startswith("pytest finds no tests in Off: it must derive from a contract")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py"]


def test_without_pytest_one_sentence_says_what_is_missing():
    code = "import sys; sys.modules['pytest'] = None; import qkan.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=ENVIRONMENT)
    assert done.stderr.strip().endswith("ImportError: qkan.testing needs the package pytest: pip install pytest.")
