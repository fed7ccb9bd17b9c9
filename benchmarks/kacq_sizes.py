"""How the sizes of KACQ-DCNN's compact preset were chosen: ``python benchmarks/kacq_sizes.py --out FILE``.

On the breast-cancer and the heart data (four sites), the rows that ``qkan train --seed 0`` keeps for calibration and
test are left out. The others are split 70/30, stratified, by two seeds; every candidate is trained on the larger part
and judged by its lowest log loss over epochs on the smaller. Lower is better; the mean over data sets and seeds
decides, and among candidates within 0.01 of the best the smallest network is taken, of equal ones the better. The
figures are in ``benchmarks/results/2026-11-25-kacq-sizes.jsonl``; two seeds cannot tell candidates apart that are
closer than about 0.01.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split

SPLINES = {"basis": "bspline", "grid": 3, "grid_range": (-3.0, 3.0)}
SMALL = {"classical": {"units": (4,), "dense": 8, "widths": (4,)}, "quantum": {"first": 2, "before": (), "after": (4,)}}
MIDDLE = {
    "classical": {"units": (8,), "dense": 16, "widths": (8,)},
    "quantum": {"first": 4, "before": (8,), "after": (8,)},
}
LARGE = {
    "classical": {"units": (16,), "dense": 32, "widths": (16, 8)},
    "quantum": {"first": 8, "before": (16,), "after": (16, 8)},
}
DARUAN = {"basis": "daruan", "reps": 2}
CANDIDATES: dict[str, dict[str, Any]] = {
    "small": {**SMALL, "basis": SPLINES},
    "middle": {**MIDDLE, "basis": SPLINES},
    "large": {**LARGE, "basis": SPLINES},
    "small, daruan": {**SMALL, "basis": DARUAN},
    "middle, daruan": {**MIDDLE, "basis": DARUAN},
    "middle, dropout 0.4": {**MIDDLE, "basis": SPLINES, "dropout": 0.4},
}
DATA, SEEDS = ("breast_cancer", "heart"), (0, 1)


def rows(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Preprocessed inputs and class codes of the rows that a run trains on or stops by."""
    from qkan import preprocessing
    from qkan.data import load
    from qkan.experiments.split import split_rows

    table = load(name)
    split = split_rows(table.features, table.target, 0)
    used = np.concatenate([split.train, split.validation])
    levels = preprocessing.known_levels(table.features, table.categorical)
    numeric = [column for column in table.features.columns if column not in levels]
    frame = preprocessing.conform(table.features.iloc[used], numeric, levels)
    x = preprocessing.make_preprocessor(numeric, levels).fit_transform(frame)
    return x, np.unique(table.target.to_numpy()[used], return_inverse=True)[1]


def judge(options: dict[str, Any], epochs: int) -> dict[str, Any]:
    """Lowest validation log loss by data set and seed, its epoch, trainable parameters and seconds."""
    from qkan.counting import count
    from qkan.sklearn import KACQClassifier

    found: dict[str, Any] = {"losses": {}, "epochs": {}, "parameters": {}}
    start = time.perf_counter()
    for name in DATA:
        x, y = rows(name)
        found["losses"][name], found["epochs"][name] = [], []
        for seed in SEEDS:
            x_in, x_out, y_in, y_out = train_test_split(x, y, test_size=0.3, stratify=y, random_state=seed)
            model = KACQClassifier(**options, epochs=epochs, patience=15, random_state=seed)
            losses = model.fit(x_in, y_in, x_out, y_out).history_["val_loss"]
            found["losses"][name].append(round(min(losses), 4))
            found["epochs"][name].append(int(np.argmin(losses)) + 1)
        found["parameters"][name] = count(model.network_).trainable
    mean = float(np.mean([loss for losses in found["losses"].values() for loss in losses]))
    return {"mean": round(mean, 4), **found, "seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Judge candidates and print one line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=list(CANDIDATES), choices=CANDIDATES, metavar="NAME")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--out", type=Path, help="file to which the lines are added")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        line = json.dumps({"candidate": name, **judge(CANDIDATES[name], options.epochs)})
        print(line, flush=True)
        if options.out:
            with options.out.open("a") as stream:
                stream.write(line + "\n")


if __name__ == "__main__":
    main()
