"""The comparison of recurrent networks measures, compares and writes, at sizes that say nothing about speed."""

import json
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "sequence.py"


def test_it_compares_and_writes_only_where_asked(tmp_path):
    options = ["--threads", "1", "--cases", "3,4,5", "--repetitions", "1", "--no-peer", "--any-load"]
    options += ["--out", str(tmp_path)]
    done = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*-sequence.json")
    (row,) = json.loads(file.read_text())["rows"]
    assert set(row["seconds"]) == {"lstm", "qkan", "hqkan"}
    assert max(row["differences"].values()) < 5e-6
    assert file.with_suffix(".md").read_text().endswith(done.stdout)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_readme_claims_what_the_results_it_names_say():
    root = SCRIPT.parents[1]
    page = " ".join((root / "README.md").read_text().split())
    (name,) = set(re.findall(r"benchmarks/results/([\d-]+-sequence)\.md", page))
    rows = json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    fastest = [min(row["all_seconds"]["lstm"]) for row in rows]
    for name in ("qkan", "hqkan"):
        first, second, third = (f"{row['seconds'][name] / floor:.1f}" for row, floor in zip(rows, fastest, strict=True))
        assert f"{first}, {second} and {third} times" in page
    peers = [row["seconds"]["official"] / floor for row, floor in zip(rows, fastest, strict=True)]
    assert f"{min(peers):.0f} to {max(peers):.0f} times" in page
    assert all(row["seconds"]["qkan"] <= row["target"] * floor for row, floor in zip(rows, fastest, strict=True))
