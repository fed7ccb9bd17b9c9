"""Runs in parallel that are kept one by one."""

import json

import pytest

from qkan.errors import DataError, OptionError
from qkan.experiments.grid import run_all


def power(base, exponent):
    if base < 0:
        raise RuntimeError("stopped")
    return {"value": base**exponent}


def runs(*bases):
    return {f"power/{base}": (power, {"base": base, "exponent": 2}) for base in bases}


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_in_order(tmp_path, jobs):
    found = run_all(runs(3, 1, 2), tmp_path, jobs, progress=False)
    assert list(found.items()) == [("power/3", {"value": 9}), ("power/1", {"value": 1}), ("power/2", {"value": 4})]


def test_what_was_done_is_kept(tmp_path):
    with pytest.raises(RuntimeError, match="stopped"):
        run_all(runs(3, -1, 2), tmp_path, progress=False)
    kept = tmp_path / "power--3.json"
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps({**content, "result": {"value": "kept"}}))
    assert run_all(runs(3, 2), tmp_path, progress=False)["power/3"] == {"value": "kept"}
    other = {"power/3": (power, {"base": 3, "exponent": 3})}
    assert run_all(other, tmp_path, progress=False)["power/3"] == {"value": 27}


def test_mistakes(tmp_path):
    (tmp_path / "power--3.json").write_text("{}")
    with pytest.raises(DataError, match="holds no result of a run"):
        run_all(runs(3), tmp_path, progress=False)
    with pytest.raises(OptionError, match="jobs=0"):
        run_all(runs(2), tmp_path, 0, progress=False)
