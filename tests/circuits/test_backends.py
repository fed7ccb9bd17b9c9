"""Backends of this package, and how they are found."""

import pytest

from qkan.circuits import backends
from qkan.circuits.backends.torch import TorchBackend
from qkan.errors import OptionError
from qkan.testing import BackendContract


class TestTorch(BackendContract):
    kind = TorchBackend.capabilities
    tolerance = 1e-12

    def make(self, **options):
        return backends.get("torch", **options)


def test_names_and_options():
    made = backends.get("torch", shots=10)
    assert backends.get(made) is made
    assert backends.available() == [name for name, reason in backends.describe().items() if not reason]
    assert {"torch", "aer", "pennylane:default.qubit", "pennylane:lightning.qubit"} <= set(backends.available())
    for reason in backends.describe().values():
        assert not reason or reason.endswith(".")
    with pytest.raises(OptionError, match=r"backend 'brisket' is not known; choose one of torch, pennylane, aer, ibm"):
        backends.get("brisket")
    with pytest.raises(OptionError, match="has no option 'shoots'; its options are shots, seed"):
        backends.get("torch", shoots=3)
    with pytest.raises(OptionError, match="backend 'torch:x' is not known"):
        backends.get("torch:x")
