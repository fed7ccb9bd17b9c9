"""Settings and fixtures shared by all tests."""

from __future__ import annotations

import pytest
import torch

# Tests run in parallel processes; more threads than cores only wait for each other.
torch.set_num_threads(1)


@pytest.fixture
def rng() -> torch.Generator:
    """A local generator with a fixed seed."""
    return torch.Generator().manual_seed(0)
