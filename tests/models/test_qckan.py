"""QCKANNet: the published size, shapes, saving. Its convolutions: tests/layers/test_conv.py."""

from __future__ import annotations

import pytest
import torch

import qkan
from qkan.errors import OptionError
from qkan.models import QCKANNet


def rows(count: int, features: int) -> torch.Tensor:
    return torch.randn(count, features, generator=torch.Generator().manual_seed(0))


def test_the_published_number_of_parameters():
    for layers in (1, 4):
        model = QCKANNet(11, quantum_layers=layers, seed=0)
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 293_429 + 36 * (layers - 1)


def test_shapes_seeds_and_saving(tmp_path):
    options = {"channels": (4, 6), "widths": (5,), "wires": 2, "circuits": 2, "edges": {"basis": "fourier"}}
    model = QCKANNet(7, 3, **options, seed=1)
    x = rows(6, 7).view(2, 3, 7)
    assert model.eval()(x).shape == (2, 3, 3)
    torch.testing.assert_close(QCKANNet(7, 3, **options, seed=1).eval()(x), model(x))
    assert not torch.equal(QCKANNet(7, 3, **options, seed=2).eval()(x), model(x))
    model.save(tmp_path / "m")
    torch.testing.assert_close(qkan.load(tmp_path / "m").eval()(x), model(x))
    QCKANNet(5, seed=0).save(tmp_path / "published")
    assert qkan.load(tmp_path / "published").config()["edges"] is None


def test_mistakes():
    with pytest.raises(OptionError, match="in_features=4 is too short"):
        QCKANNet(4)
    with pytest.raises(OptionError, match="channels"):
        QCKANNet(9, channels=(3,))
    with pytest.raises(OptionError, match="embedding='phase'"):
        QCKANNet(9, embedding="phase")
