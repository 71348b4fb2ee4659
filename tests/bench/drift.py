"""Drift and accuracy without labels beside other detectors: ``python tests/bench/drift.py``.

Streams are real images (Fashion-MNIST, the 5,000 that the tutorial's CNN was not trained on), drawn with replacement,
so that the truth is known: what the model answers on all of them. References of 3,000 images are drawn from the same.
Peers get four numbers of the same requests: mean, contrast, confidence, entropy. river and evidently run in
environments of their own, kept in ``--cache FOLDER``, or left out with ``--without river evidently``.

Prints the delay from a change to the alarm in requests (median, and the largest), false alarms on clean requests, cost,
sizes, and how far estimates of accuracy are off; each beside its target. Takes a few minutes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bench" / "peers"))
import environments  # noqa: E402

from deploykit.monitoring.accuracy import estimate  # noqa: E402
from deploykit.monitoring.detector import DriftDetector  # noqa: E402
from deploykit.monitoring.fitting import fit  # noqa: E402
from deploykit.monitoring.gathering import Gatherer  # noqa: E402
from deploykit.monitoring.profile import Observed, Profile  # noqa: E402
from deploykit.readers.onnx_last import also_giving, last_input  # noqa: E402

RUNS, CHANGE, LONGEST, REFERENCE, BATCH = 15, 2048, 12_000, 3000, 64
CLEAN = 2_000_000
#: Median requests to the alarm that are wanted.
TARGETS = {"noise 0.15": 320, "shift of 2 pixels": 320, "inverted": 64, "one class twice as often": 3200}
WINDOW = 500
PEERS = {"river": ["river==0.26.1"], "evidently": ["evidently==0.7.23", "pandas<3"]}


class Model:
    """The tutorial's CNN with its last layer's input."""

    def __init__(self) -> None:
        import onnxruntime

        content = (ROOT / "notebooks" / "models" / "fashion_cnn.onnx").read_bytes()
        self.tap = last_input(content, "class")
        self._session = onnxruntime.InferenceSession(also_giving(content, self.tap))

    def __call__(self, images: Any) -> tuple[Any, Any]:
        """Probabilities and embedding."""
        parts = [
            self._session.run(None, {"image": images[a : a + 500, ..., None] / np.float32(255)})
            for a in range(0, len(images), 500)
        ]
        return np.concatenate([p for p, _ in parts]), np.concatenate([e for _, e in parts])


def changed(images: Any, rng: Any) -> dict[str, Any]:
    """What happens to images, by kind."""
    moved = np.zeros_like(images)
    moved[:, 2:, 2:] = images[:, :-2, :-2]
    noisy = np.clip(images + rng.normal(0, 0.15 * 255, images.shape), 0, 255).round().astype(np.uint8)
    return {
        "clean": images,
        "noise 0.15": noisy,
        "brightness × 0.8": (images * 0.8).astype(np.uint8),
        "shift of 2 pixels": moved,
        "inverted": 255 - images,
    }


class Pool:
    """All images of each kind with what the model makes of them."""

    def __init__(self) -> None:
        with np.load(ROOT / "notebooks" / "data" / "fashion-mnist.npz") as file:
            self.images, self.labels = file["x_test"], file["y_test"].astype(int)
        self.model = Model()
        kinds = changed(self.images, np.random.default_rng(5))
        self.kinds = {kind: (images, *self.model(images)) for kind, images in kinds.items()}
        self.kinds["one class twice as often"] = self.kinds["clean"]
        weights = np.where(self.labels == 3, 2.25, 1.0)  # a tenth of the requests become a fifth
        self.weights = {"one class twice as often": weights / weights.sum()}

    def profile(self, seed: int) -> Profile:
        """Of a reference of its own."""
        chosen = np.random.default_rng(seed).integers(0, len(self.images), REFERENCE)
        images, chances, embedding = (part[chosen] for part in self.kinds["clean"])
        return fit(
            {"image": images}, {"class": chances}, "class", "probabilities", model="ab" * 32, embedding=embedding,
            labels=self.labels[chosen], tap=self.model.tap,
        )  # fmt: skip

    def observed(self, profile: Profile, kind: str) -> Observed:
        """All images of a kind."""
        images, chances, embedding = self.kinds[kind]
        return profile.observe({"image": images}, {"class": chances}, embedding)

    def drawn(self, kind: str, rng: Any, count: int) -> Any:
        """Places of images as clients send them."""
        return rng.choice(len(self.images), count, p=self.weights.get(kind))

    def bursts(self, rng: Any, count: int) -> Any:
        """Places of images that come in bursts of 20 of one class."""
        classes = rng.integers(0, 10, count // 20)
        return np.concatenate([rng.choice(np.flatnonzero(self.labels == c), 20) for c in classes])

    def numbers(self, kind: str) -> Any:
        """Mean, contrast, confidence and entropy of all images of a kind."""
        images, chances, _ = self.kinds[kind]
        flat = images.reshape(len(images), -1).astype(np.float32)
        entropy = -(chances * np.log(chances + 1e-9)).sum(1)
        return np.stack([flat.mean(1), flat.std(1), chances.max(1), entropy], axis=1).astype(np.float32)


def taken(whole: Observed, places: Any) -> Observed:
    """Some requests of many."""
    assert whole.confidence is not None
    return Observed(whole.features[places], whole.rarity[places], whole.confidence[places])


def ours(pool: Pool) -> dict[str, list[float]]:
    """Alarms per 200,000 clean requests, alarms in bursts, and delays."""
    found: dict[str, list[float]] = {kind: [] for kind in pool.kinds if kind != "clean"}
    alarms, wrong = 0, []
    for seed in range(10):
        detector, clean = DriftDetector(profile := pool.profile(seed)), None
        clean, rng = pool.observed(profile, "clean"), np.random.default_rng(100 + seed)
        for _ in range(CLEAN // 10 // 20_000):
            detector.add(taken(clean, rng.integers(0, len(pool.images), 20_000)))
            if detector.alarmed_at is not None:
                alarms += 1
                detector.reset()
    found["clean"] = [alarms * 200_000 / CLEAN]
    found["bursts"] = []
    for seed in range(RUNS):
        profile = pool.profile(1000 + seed)
        clean, rng = pool.observed(profile, "clean"), np.random.default_rng(seed)
        for kind in [k for k in found if k not in ("clean", "bursts")]:
            after, detector = pool.observed(profile, kind), DriftDetector(profile)
            detector.add(taken(clean, rng.integers(0, len(pool.images), CHANGE)))
            wrong.append(detector.alarmed_at is not None)
            while detector.alarmed_at is None and detector.requests < CHANGE + LONGEST:
                detector.add(taken(after, pool.drawn(kind, rng, BATCH)))
            found[kind].append(np.inf if detector.alarmed_at is None else detector.alarmed_at - CHANGE)
        detector = DriftDetector(profile)
        detector.add(taken(clean, pool.bursts(rng, 50_000)))
        found["bursts"].append(float(detector.alarmed_at is not None))
    assert not any(wrong), "an alarm before the change"
    return found


def in_bins(edges: Any, values: Any) -> Any:
    """Share of values in each of ten bins."""
    return np.bincount(np.searchsorted(edges, values), minlength=10) / len(values)


def windows(peers: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """KS tests and PSI on windows of the same numbers."""
    from scipy.stats import ks_2samp

    reference = peers["reference"]
    edges = [np.quantile(c, np.linspace(0, 1, 11)[1:-1]) for c in reference.T]
    shares = [
        np.bincount(np.searchsorted(e, c), minlength=10) / len(c) for e, c in zip(edges, reference.T, strict=True)
    ]

    def ks(window: Any) -> bool:
        return any(ks_2samp(reference[:, k], window[:, k]).pvalue < 0.05 / 4 for k in range(4))

    def psi(window: Any) -> bool:
        for edge, share, column in zip(edges, shares, window.T, strict=True):
            now = np.maximum(in_bins(edge, column), 1e-4)
            if ((now - share) * np.log(now / share)).sum() > 0.1:
                return True
        return False

    found: dict[str, dict[str, list[float]]] = {}
    for label, test, size in (
        ("KS × 4, Bonferroni, 500", ks, WINDOW),
        ("PSI > 0.1, 500", psi, WINDOW),
        ("PSI > 0.1, 100", psi, 100),
    ):
        row = found[label] = {}
        clean = peers["clean"][: 200 * size].reshape(200, size, 4)
        row["clean"] = [np.mean([test(w) for w in clean]) * 200_000 / size]
        row["bursts"] = [float(any(test(run[a : a + size]) for a in range(0, 10_000, size))) for run in peers["bursts"]]
        for kind in (k for k in peers if k not in ("clean", "bursts", "reference", "change")):
            row[kind] = []
            for run in peers[kind]:
                after = run[CHANGE:]
                place = next((a for a in range(0, len(after) - size + 1, size) if test(after[a : a + size])), None)
                row[kind].append(np.inf if place is None else place + size)
    return found


def peer_streams(pool: Pool) -> dict[str, Any]:
    """The same kinds of streams as numbers."""
    rng, clean = np.random.default_rng(77), pool.numbers("clean")
    count = len(clean)
    found = {
        "clean": clean[rng.integers(0, count, 200_000)],
        "bursts": np.stack([clean[pool.bursts(rng, 20_000)] for _ in range(5)]),
        "reference": clean[rng.integers(0, count, REFERENCE)],
        "change": np.array(CHANGE),
    }
    for kind in (k for k in pool.kinds if k != "clean"):
        after = pool.numbers(kind)
        runs = [
            np.concatenate([clean[rng.integers(0, count, CHANGE)], after[pool.drawn(kind, rng, LONGEST)]])
            for _ in range(RUNS)
        ]
        found[kind] = np.stack(runs)
    return found


def accuracy(pool: Pool) -> dict[str, tuple[float, list[float], list[bool]]]:
    """By kind: truth, distances of the estimate, and whether it was called valid, for each run."""
    found = {}
    for kind in pool.kinds:
        right = pool.kinds[kind][1].argmax(1) == pool.labels
        gaps, valid, truth = [], [], 0.0
        for seed in range(RUNS):
            profile, rng = pool.profile(2000 + seed), np.random.default_rng(seed)
            detector, clean = DriftDetector(profile), pool.observed(profile, "clean")
            detector.add(taken(clean, rng.integers(0, len(right), CHANGE)))
            chosen = pool.drawn(kind, rng, REFERENCE)
            detector.add(taken(pool.observed(profile, kind), chosen))
            said = estimate(detector, REFERENCE)
            truth = float(right[chosen].mean())
            assert said.value is not None
            gaps.append(abs(said.value - truth))
            valid.append(said.valid)
        found[kind] = truth, gaps, valid
    return found


def cost(pool: Pool) -> tuple[float, float]:
    """Microseconds a request in batches of 64, and of one: observing and gathering."""
    profile, found = pool.profile(0), []
    images, chances, embedding = pool.kinds["clean"]
    for size in (BATCH, 1):
        gatherer, best = Gatherer(profile, block=1), np.inf
        for _ in range(200):
            start = time.perf_counter()
            gatherer.add(profile.observe({"image": images[:size]}, {"class": chances[:size]}, embedding[:size]))
            best = min(best, time.perf_counter() - start)
        found.append(best / size * 1e6)
    return found[0], found[1]


def wide_profile() -> int:
    """Bytes of the profile of a model with 1,000 classes and an embedding of 4,096 numbers."""
    rng = np.random.default_rng(0)
    chances, images = rng.dirichlet(np.full(1000, 0.1), 1000).astype(np.float32), rng.random((1000, 8, 8, 3))
    embedding = rng.normal(0, 1, (1000, 4096)).astype(np.float32)
    profile = fit({"x": images}, {"y": chances}, "y", "probabilities", model="a" * 64, embedding=embedding, tap="e")
    return len(profile.to_bytes())


def shown(values: list[float]) -> str:
    """Median and largest."""
    middle, most = float(np.median(values)), max(values)
    text = "never" if np.isinf(middle) else f"{middle:,.0f}"
    return f"{text} [{'never' if np.isinf(most) else f'{most:,.0f}'}]"


def verdict(*, good: bool) -> str:
    """In words."""
    return "reached" if good else "MISSED"


def main() -> None:
    """Measure all and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path.home() / ".cache" / "deploykit-bench"
    parser.add_argument("--cache", type=Path, default=cache, help="of the peers' environments")
    parser.add_argument("--without", nargs="*", default=[], choices=list(PEERS), help="peers to leave out")
    arguments = parser.parse_args()
    pool = Pool()
    rows = {"deploykit e-detector": ours(pool)}
    streams = peer_streams(pool)
    rows |= windows(streams)
    with tempfile.TemporaryDirectory(prefix="deploykit-bench-") as place:
        file = Path(place) / "streams.npz"
        np.savez(file, **streams)
        for peer in (p for p in PEERS if p not in arguments.without):
            python = environments.made(arguments.cache / peer, PEERS[peer]) / "bin" / "python"
            script = ROOT / "tests" / "bench" / "peers" / f"drift_{peer}.py"
            rows |= json.loads(subprocess.check_output([python, script, file]).splitlines()[-1])
    kinds = [kind for kind in pool.kinds if kind != "clean"]
    print(f"\nRequests from the change to the alarm, median [largest] of {RUNS} runs (5 of evidently)\n")
    print(f"{'detector':26s} {'false alarms':>13s} {'alarm in':>9s} " + " ".join(f"{k:>24s}" for k in kinds))
    print(f"{'':26s} {'per 200,000':>13s} {'bursts':>9s}")
    for label, row in rows.items():
        cells = " ".join(f"{shown(row[k]):>24s}" for k in kinds)
        print(f"{label:26s} {np.mean(row['clean']):13.1f} {np.mean(np.minimum(row['bursts'], 1)):9.0%} {cells}")
    own, said = rows["deploykit e-detector"], []
    alarms = own["clean"][0] * CLEAN / 200_000
    said.append((f"alarms in {CLEAN:,} clean requests: {alarms:.0f} (target 0)", alarms == 0))
    alarms = sum(own["bursts"])
    said.append((f"alarms in {RUNS} × 50,000 requests in bursts of 20: {alarms:.0f} (target 0)", alarms == 0))
    for kind, most in TARGETS.items():
        middle = np.median(own[kind])
        said.append((f"{kind}: {middle:,.0f} requests (target {most:,})", middle <= most))
    batch, single = cost(pool)
    said.append((f"cost: {batch:.1f} µs a request in batches of 64 (target 4), {single:.0f} µs alone", batch <= 4))
    for what, size in (("of this CNN", len(pool.profile(0).to_bytes())), ("of 1,000 classes × 4,096", wide_profile())):
        said.append((f"profile {what}: {size:,} bytes (target 12,288)", size <= 12_288))
    print()
    for text, good in said:
        print(text, verdict(good=bool(good)))
    print(f"\nEstimated accuracy of {REFERENCE:,} requests without labels, {RUNS} runs\n")
    for kind, (truth, gaps, valid) in accuracy(pool).items():
        wrong = sum(v and gap > 0.03 for gap, v in zip(gaps, valid, strict=True))
        want = "never valid" if kind == "inverted" else "within 3 points, or marked not valid"
        good = not any(valid) if kind == "inverted" else np.median(gaps) <= 0.03 and not wrong
        print(
            f"{kind:26s} truth {100 * truth:4.1f} %, off by {100 * np.median(gaps):4.1f} points (largest "
            f"{100 * max(gaps):4.1f}), valid in {sum(valid)} of {RUNS}, {wrong} of these off by more than 3 "
            f"(target {want})", verdict(good=bool(good)),
        )  # fmt: skip


if __name__ == "__main__":
    main()
