"""The comparison of KACQ-DCNN measures, compares and writes, at sizes that say nothing about speed."""

import json
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kacq.py"


def test_it_compares_and_writes_only_where_asked(tmp_path):
    options = ["--threads", "1", "--cases", "circuits", "epoch, tanh", "--repetitions", "1", "--no-heart"]
    command = [sys.executable, str(SCRIPT), *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*-kacq.json")
    found = json.loads(file.read_text())
    assert [row["case"] for row in found["rows"]] == ["circuits", "epoch, tanh"]
    assert max(row["difference"] for row in found["rows"]) < 1e-6
    assert min(row["seconds"] for row in found["rows"]) > 0
    assert all(row["ratio"] == row["peer_seconds"] / row["seconds"] for row in found["rows"][1:])  # of one turn
    assert found["heart"] is None
    assert file.with_suffix(".md").read_text().endswith(done.stdout)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_readme_claims_what_the_results_it_names_say():
    root = SCRIPT.parents[1]
    page = " ".join((root / "README.md").read_text().split())
    (name,) = set(re.findall(r"benchmarks/results/([\d-]+-kacq)\.md", page))
    rows = json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    ratios = {
        case: [row["ratio"] for row in rows if row["case"] == case] for case in ("circuits", "epoch", "epoch, fused")
    }
    assert f"three circuits run {int(min(ratios['circuits']))} times" in page
    assert f"an epoch {int(10 * min(ratios['epoch'])) / 10:g} times" in page
    assert f"({int(10 * min(ratios['epoch, fused'])) / 10:g} times if these also get" in page
