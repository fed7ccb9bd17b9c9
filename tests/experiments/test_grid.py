"""Runs in parallel that are kept one by one."""

import json
import math
import time
from pathlib import Path

import pytest

from qkan.errors import BackendUnavailable, DataError, OptionError
from qkan.experiments import grid
from qkan.experiments.grid import run_all


def power(base, exponent):
    if base < 0:
        raise RuntimeError("stopped")
    return {"value": base**exponent}


def math_gcd(a, b):
    return {"value": math.gcd(a, b)}


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


def after(n, folder):
    """Wait until the run four before this one is kept."""
    time.sleep(0.1)
    for _ in range(100 if n >= 4 else 0):
        if (Path(folder) / f"slow--{n - 4}.json").exists():
            return {"kept": True}
        time.sleep(0.05)
    return {"kept": n < 4}


def quickly(n):
    return {"value": n}


def test_slow_runs_after_quick_ones_are_kept_one_by_one(tmp_path, monkeypatch):
    # joblib puts quick runs together and goes on so: slow ones came back by the dozen, and an interruption lost them.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    quick = {f"quick/{n}": (quickly, {"n": n}) for n in range(1000)}
    slow = {f"slow/{n}": (after, {"n": n, "folder": str(tmp_path)}) for n in range(16)}
    found = run_all({**quick, **slow}, tmp_path, 2, progress=False)
    assert all(found[key]["kept"] for key in slow)


@pytest.mark.parametrize("backend", ["loky", "threading", "dask", "ray"])
@pytest.mark.filterwarnings("ignore")  # clusters warn of their own resources
def test_back_ends(tmp_path, backend, monkeypatch):
    if backend == "dask":
        pytest.importorskip("distributed")
    if backend == "ray":
        pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    found = run_all({f"gcd/{n}": (math_gcd, {"a": n, "b": 12}) for n in (8, 9)}, tmp_path, 2, False, backend)
    assert found == {"gcd/8": {"value": 4}, "gcd/9": {"value": 3}}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_missing_back_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=r"backend='dask' needs the package 'dask\[distributed\]'"):
        run_all(runs(3), tmp_path, progress=False, backend="dask")
    with pytest.raises(OptionError, match="backend='spark'"):
        run_all(runs(3), tmp_path, progress=False, backend="spark")


def test_mistakes(tmp_path):
    (tmp_path / "power--3.json").write_text("{}")
    with pytest.raises(DataError, match="holds no result of a run"):
        run_all(runs(3), tmp_path, progress=False)
    with pytest.raises(OptionError, match="jobs=0"):
        run_all(runs(2), tmp_path, 0, progress=False)
