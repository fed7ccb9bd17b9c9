"""What every basis and every backend must do, as test classes: derive from them in your own tests.

They need pytest, which is no dependency of the package: ``pip install pytest``.
"""

try:
    import pytest
except ImportError as error:
    raise ImportError("qkan.testing needs the package pytest: pip install pytest.") from error

# Before they are imported: failing asserts in them then show the values.
pytest.register_assert_rewrite("qkan.testing.basis_contract", "qkan.testing.backend_contract")

from qkan.testing.backend_contract import BackendContract
from qkan.testing.basis_contract import BasisContract
from qkan.testing.random_circuits import random_circuit, random_inputs
from qkan.testing.running import Verdict, run_contract

__all__ = ["BackendContract", "BasisContract", "Verdict", "random_circuit", "random_inputs", "run_contract"]
