"""The measurement of group-rational layers compares and writes, at sizes that say nothing about speed."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "group.py"


def test_it_compares_and_writes_only_where_asked(tmp_path):
    options = ["--threads", "1", "--sizes", "260,64,3", "260,64,0", "--repetitions", "1"]
    command = [sys.executable, str(SCRIPT), *options, "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*-group.json")
    rows = json.loads(file.read_text())["rows"]
    assert [(row["inputs"], row["outputs"]) for row in rows] == [(64, 3), (64, 0)]
    assert all(0 < row["difference"] < 1e-5 for row in rows)  # 0 would mean that both sides ran the same code
    assert min(row[name] for row in rows for name in ("seconds", "plain_seconds", "silu_seconds")) > 0
    assert file.with_suffix(".md").read_text().endswith(done.stdout)
    assert len(list(tmp_path.iterdir())) == 2
