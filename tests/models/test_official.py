"""Weights of the published package compute the same here; the numbers were recorded from qkan==0.2.3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from qkan import QKAN
from qkan.errors import ModelFileError, OptionError

RECORD = json.loads((Path(__file__).parents[1] / "fixtures" / "official.json").read_text())
CASES = RECORD["cases"]


def tensors(case: str) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value) for name, value in CASES[case]["state_dict"].items()}


def converted(case: str) -> QKAN:
    options = CASES[case]["options"]
    measured_fast = options.get("fast_measure", True)
    return QKAN.from_official_state_dict(
        tensors(case), RECORD["width"], RECORD["reps"], options["ansatz"], fast_measure=measured_fast
    )


@pytest.mark.parametrize("case", CASES)
def test_outputs_agree(case):
    y = converted(case).predict(torch.tensor(CASES[case]["x"]))
    torch.testing.assert_close(y, torch.tensor(CASES[case]["y"]), rtol=0, atol=2e-6)


def test_frequencies_decide_the_encoding():
    assert converted("pz").layers[0].basis.encoding == "fixed"
    assert converted("pz_all").layers[0].basis.encoding == "edge"


def test_mask_and_groups_are_carried_over():
    assert converted("pz_masked").layers[0].mask[1, 2] == 0
    assert converted("pz_grouped").layers[0].basis.groups == 2


def test_converted_model_can_be_trained():
    model = converted("pz_all")
    x = torch.tensor(CASES["pz_all"]["x"])
    history = model.fit((x, torch.zeros(len(x), 2)), steps=20, progress=False)
    assert history["train_loss"][-1] < history["train_loss"][0]


def test_errors_are_clear():
    with pytest.raises(ModelFileError, match=r"no tensor 'layers\.0\.theta'"):
        QKAN.from_official_state_dict({}, [3, 2, 2])
    with pytest.raises(ModelFileError, match="does not fit width=\\[3, 5, 2\\]"):
        QKAN.from_official_state_dict(tensors("pz"), [3, 5, 2], 2)
    with pytest.raises(OptionError, match="ansatz='py'"):
        QKAN.from_official_state_dict(tensors("pz"), [3, 2, 2], 2, "py")
