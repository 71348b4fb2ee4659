"""Whether intervals of a change in mAP cover the truth, and whether a class that a candidate lost is named.

    python tests/bench/detection.py [--simulations 500]

A detector finds each box of a class with its own probability and its own error of place, and invents some; the
candidate is a little worse. The truth is the change over 40,000 images; each simulation draws 200 others.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np

from deploykit.core.contract import OutputMeaning
from deploykit.data.boxes import padded
from deploykit.measuring.accuracy import compare
from deploykit.metrics._contract import METRICS
from deploykit.reporting.evidence import class_changes

CLASSES, MOST, IMAGES, MANY = 4, 4, 200, 40_000
NAMES = tuple(f"class {i}" for i in range(CLASSES))


def draw(count, rng, worse=1.0):
    """Labels, and the detections of the original and of a candidate whose errors are ``worse`` times as large."""
    there = rng.integers(0, MOST + 1, count)[:, None] > np.arange(MOST)
    first = rng.random((count, MOST, 2)) * 0.6
    corners = np.concatenate([first, first + 0.15 + 0.2 * rng.random((count, MOST, 2))], axis=-1)
    numbers = rng.choice(CLASSES, (count, MOST), p=[0.4, 0.3, 0.2, 0.1])
    boxes = [np.column_stack([c[t], n[t], np.zeros(t.sum())]) for c, n, t in zip(corners, numbers, there, strict=True)]
    labels = padded(boxes, MOST)
    place, luck = rng.normal(size=corners.shape), rng.random((count, MOST))
    invented, where = rng.random((count, 2)), rng.random((count, 2, 2)) * 0.6
    found = []
    for scale in (1.0, worse):
        hit = there & (luck < 0.9 - 0.1 * (scale - 1) * 5)
        boxes = corners + 0.012 * scale * place
        score = np.clip(0.95 - 0.25 * np.abs(place).mean(axis=-1) * scale + 0.02 * luck, 0.05, 1)
        own = np.concatenate([boxes, score[..., None], np.where(hit, numbers, -1)[..., None]], axis=-1)
        false = np.concatenate(
            [
                where,
                where + 0.2,
                0.5 * invented[..., None],
                np.where(invented < 0.3, np.floor(invented * 100) % CLASSES, -1)[..., None],
            ],
            axis=-1,
        )
        found.append(np.concatenate([own, false], axis=1).astype(np.float32))
    return labels, *found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=500)
    wanted = parser.parse_args().simulations
    metric = METRICS.get("mean_average_precision")
    labels, before, after = draw(MANY, np.random.default_rng(1), 1.15)
    truth = metric.overall(after, labels) - metric.overall(before, labels)
    print(f"change over {MANY:,} images: {100 * truth:.2f} pp", flush=True)
    began, covered, widths = time.perf_counter(), 0, []
    for seed in range(wanted):
        labels, before, after = draw(IMAGES, np.random.default_rng(1000 + seed), 1.15)
        change = compare(metric, after, before, labels).change
        covered += change.low <= truth <= change.high
        widths.append(change.high - change.low)
        if seed % 50 == 49:
            print(f"{seed + 1}: {100 * covered / (seed + 1):.1f} % covered", flush=True)
    named = 0
    for seed in range(20):
        labels, before, after = draw(IMAGES, np.random.default_rng(5000 + seed), 1.0)
        lost = seed % CLASSES
        after[after[..., 5] == lost] = (0, 0, 0, 0, 0, -1)
        meaning = OutputMeaning("boxes", "boxes", "scored", "float32")
        rows = class_changes.compare(after, before, labels, NAMES, meaning=meaning).rows
        named += [row.index for row in rows if row.sure and row.change.value < 0] == [lost] and rows[0].after == 0
    seconds = time.perf_counter() - began
    print(json.dumps({"coverage": covered / wanted, "simulations": wanted, "width_pp": 100 * float(np.median(widths)),
                      "collapses_named": f"{named} of 20", "seconds": round(seconds, 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
