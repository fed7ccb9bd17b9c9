"""Settings and fixtures shared by all tests."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

# Tests run in parallel processes; more threads than cores only wait for each other.
torch.set_num_threads(1)

# The suite draws the same examples every time, so that it passes or fails for everyone alike;
# `make fuzz` draws new ones.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.register_profile("fuzz", deadline=None, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture
def rng() -> torch.Generator:
    """A local generator with a fixed seed."""
    return torch.Generator().manual_seed(0)
