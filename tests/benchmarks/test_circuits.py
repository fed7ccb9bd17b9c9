"""The comparison with TorchLayer measures, compares and writes, at sizes that say nothing about speed."""

import json
import re
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "circuits.py"


def test_it_compares_and_writes_only_where_asked(tmp_path):
    options = ["--threads", "1", "--layers", "1", "--batch", "3", "--repetitions", "1"]
    command = [sys.executable, str(SCRIPT), *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*-circuits.json")
    rows = json.loads(file.read_text())["rows"]
    assert [row["embedding"] for row in rows] == ["angle", "amplitude"]
    assert max(row["difference"] for row in rows) < 1e-6
    assert min(row["seconds"] for row in rows) > 0
    assert file.with_suffix(".md").read_text().endswith(done.stdout)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_readme_claims_what_the_results_it_names_say():
    root = SCRIPT.parents[1]
    page = " ".join((root / "README.md").read_text().split())
    (name,) = set(re.findall(r"benchmarks/results/([\d-]+-circuits)\.md", page))
    rows = json.loads((root / "benchmarks" / "results" / f"{name}.json").read_text())["rows"]
    ratios = [row["torchlayer_seconds"] / row["seconds"] for row in rows]
    assert f"is {int(min(ratios))} to {int(max(ratios))} times faster than PennyLane's `TorchLayer`" in page
