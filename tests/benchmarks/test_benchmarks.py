"""The benchmark suite measures, compares and writes what it says, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cases
import gpu
import pytest
import report
import run

ROOT = Path(__file__).resolve().parents[2]


def quick(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A quick run on one thread, in a process of its own as users start it."""
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "--quick", "--threads", "1", "--repetitions", "2"]
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    return subprocess.run(
        [*command, "--out", str(folder), *options], capture_output=True, text=True, timeout=300, env=environment
    )


def test_a_quick_run_writes_json_table_and_plot(tmp_path):
    done = quick(tmp_path, "--no-peer")
    assert done.returncode == 0, done.stderr
    (data,) = tmp_path.glob("*-cpu.json")
    result = json.loads(data.read_text())
    assert {"torch", "numba", "processor", "threads", "commit"} <= set(result["environment"])
    fixed, edge = result["targets"]
    assert len(fixed["seconds"]) == len(fixed["floor_seconds"]) == 2
    assert min(fixed["seconds"] + fixed["floor_seconds"] + edge["seconds"]) > 0
    assert fixed["peak_kib"] >= 4
    assert "floor_seconds" not in edge
    assert [len(rows) for rows in result["scaling"].values()] == [2, 2, 2]
    table = data.with_suffix(".md").read_text()
    assert "| (8, 2, 3, 3) edge |" in table
    assert "not measured" in table
    assert table in done.stdout
    (plot,) = tmp_path.glob("*-scaling.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 3, "nothing half-written stays behind"


@pytest.mark.skipif(not run.PEER.exists(), reason="the published package is not there; run make bench-peers")
def test_the_published_package_computes_the_same(tmp_path):
    done = quick(tmp_path)
    assert done.returncode == 0, done.stderr
    (data,) = tmp_path.glob("*-cpu.json")
    for row in json.loads(data.read_text())["targets"]:
        assert row["differences"]["output"] < 1e-5
        assert row["differences"]["x"] < 1e-5
        assert row["differences"]["theta"] < 1e-5
        assert len(row["peer_seconds"]) == 2


def test_a_missing_peer_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "PEER", tmp_path / "nothing")
    monkeypatch.setattr(run, "measure_target", lambda target, *_: {"label": target.case.label, "seconds": [1.0]})
    monkeypatch.setattr(run, "measure_alone", lambda *_: [])
    said: list[str] = []
    run.measure(run.parse(["--quick"]), said.append)
    assert said[0] == run.MISSING
    assert "make bench-peers" in run.MISSING


def test_exponents_are_fitted_over_the_upper_half():
    sizes = [2.0**k for k in range(10)]
    seconds = [1.0] * 5 + [size**1.5 for size in sizes[5:]]
    assert report.exponent(sizes, seconds) == pytest.approx(1.5)
    assert report.exponent([2.0, 4.0], [3.0, 12.0]) == pytest.approx(2.0)


def test_the_table_says_met_and_not_met():
    row = {"label": "a", "seconds": [1e-3] * 3, "peer_seconds": [1e-2] * 3, "peak_kib": 10, "peer_peak_kib": 1000}
    row |= {"memory_target": None, "differences": {"output": 1e-6, "x": 0.0, "theta": 0.0}}
    page = {"environment": {"date": "d", "processor": "p", "cores": 1, "threads": 1, "commit": "c"}, "others": []}
    page["environment"] |= {"python": "1", "torch": "2", "numba": "3"}
    for target, verdict in ((10, "10: met"), (11, "11: **not met**")):
        text = report.markdown({**page, "targets": [{**row, "target": target}], "scaling": {}}, "plot.png")
        assert verdict in text
    row["differences"]["output"] = 2e-5
    text = report.markdown({**page, "targets": [{**row, "target": 5}], "scaling": {}}, "plot.png")
    assert "5: **not met**" in text, "a fast but different output meets nothing"


def test_every_target_of_fixed_nodes_has_its_floor():
    for target in cases.TARGETS:
        floor = target.case.floor()
        assert (floor is None) == (target.case.encoding == "edge")
        if floor is not None:
            assert floor.features == (7 if target.case.label.endswith(" fixed") else 27)


def test_the_figures_in_the_readme_are_those_of_the_results_it_names():
    page = " ".join((ROOT / "README.md").read_text().split())
    (name,) = set(re.findall(r"benchmarks/results/([\d-]+-cpu)\.md", page))
    rows = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())["targets"]
    ratios = {row["label"]: f"{report.ratio(row):.0f} times" for row in rows}
    for size in ("(16, 4, 4, 3)", "(1000, 10, 10, 3)", "(1024, 64, 64, 3)"):
        assert f"{ratios[f'{size} fixed']} at {size}" in page
    assert f"{ratios['(1024, 64, 64, 3) edge']} with trainable per-edge encodings" in page


def test_counts_below_one_and_an_interruption_are_one_sentence(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run.main(["--repetitions", "0"])
    assert "--repetitions 0 must be 1 or more" in capsys.readouterr().err

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "measure", interrupt)
    with pytest.raises(SystemExit, match="interrupted; nothing was written"):
        run.main(["--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_without_a_device_the_gpu_suite_says_so_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit, match="no CUDA device here; nothing was measured"):
        gpu.main(["--out", str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_the_gpu_suite_measures_and_tabulates_at_a_size_for_the_cpu(monkeypatch):
    """All but the device: the same two workers, comparison and table, on the CPU."""
    if not run.PEER.exists():
        pytest.skip("the published package is not there; run make bench-peers")
    case = cases.Case("daruan", 8, 2, 3, dtype="bfloat16")
    rates = {"bandwidth": 1e9, "float32": 1e9, "bfloat16": 1e9}
    found = gpu.measure_against(case, 1, 2)
    assert found["differences"]["output"] < 0.1
    assert len(found["seconds"]) == len(found["peer_seconds"]) == 2
    monkeypatch.setattr(gpu, "measure_against", lambda case, *_: {**found, "solver": case.solver})
    row = gpu.measure_target(cases.Target(case, 10), 1, 2, rates)
    assert row["matmul_share"] > 0
    failed = {**row, "against": [{"solver": "exact", "out_of_memory": ["official"]}]}
    where = {"date": "d", "gpu": "g", "torch": "2", "commit": "c"}
    table = gpu.markdown({"environment": where, "targets": [row, failed]})
    assert table.count("fixed bfloat16 | flash") == table.count("out of memory: official") == 1
