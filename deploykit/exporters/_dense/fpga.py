"""Writes a dense network as C++ for high-level synthesis with hls4ml, and simulates it, in a child process.

**Error.** All numbers have one fixed-point format, whose step is q = 2^-(bits - integer bits); digits behind it are cut
off. The error of a layer's unit is at most Σ |w| e + Σ (|x| + e) q + (n + 2) q: what arrives is off by e, each of the n
weights and the bias by less than q, and each of the n sums is cut off by less than q. Sigmoid and tanh are looked up in
tables of 1024 entries, which adds a constant. The simulation must stay within this bound of the network in double
precision.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import UnsupportedModelError
from deploykit.exporters._dense.network import Dense
from deploykit.exporters._dense.source import layers_at
from deploykit.sandbox.task import Report

if TYPE_CHECKING:
    from numpy.typing import NDArray

PROJECT = "network"
#: hls4ml's names of activations, the largest slope, and what its tables add to the error.
_ACTIVATIONS = {"rectifier": ("relu", 1.0, 0.0), "logistic": ("sigmoid", 0.25, 6e-3), "tanh": ("tanh", 1.0, 1e-2)}
#: Products that synthesis can lay out side by side; larger layers reuse multipliers.
_UNROLLED = 4096
#: Answers of simulations by the digest of their sources and inputs: the same ones give the same, and compiling takes
#: seconds.
_known: dict[str, NDArray[Any]] = {}


def write(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write the project into ``folder`` and simulate it.

    Args:
        arguments: What `deploykit.exporters._dense.source.run` adds; ``folder``; ``bits``; ``integer_bits``, 0 to find
            them; ``clock_ns``; ``part``; ``examples``: an ``.npy`` of examples as the network takes them, flat;
            ``answers``: where the simulation's go.
        report: Not used.

    Returns:
        ``integer_bits``, ``layers`` (units, activation), ``bound``, ``difference`` from the network in double
        precision, ``softmax``: whether it was left out, ``strategy``.
    """
    import numpy as np

    x = np.load(arguments["examples"]).astype(np.float64)
    layers = layers_at(arguments, x.shape[1])
    softmax = layers[-1].activation == "softmax"
    if softmax:
        layers[-1] = Dense(layers[-1].weights, layers[-1].bias)
    for layer in layers:
        if layer.activation not in ("identity", *_ACTIVATIONS):
            raise UnsupportedModelError(
                f"The activation {layer.activation} has no counterpart in hls4ml.", remedy="use ReLU, sigmoid or tanh."
            )
    bits, integer = arguments["bits"], arguments["integer_bits"]
    values, largest = _run(layers, x)
    needed = math.ceil(math.log2(max(largest, 1e-9))) + 2  # a sign, and twice the largest value that was seen
    integer = integer or max(2, needed)
    if integer >= bits:
        raise UnsupportedModelError(
            f"Values reach {largest:.3g}, which takes {integer} bits before the point; the format has {bits} bits.",
            remedy=f"set bits to {integer + 10} or more.",
        )
    folder = Path(arguments["folder"])
    unrolled = max(layer.weights.size for layer in layers) <= _UNROLLED
    model = _project(layers, x.shape[1], folder, arguments, f"ap_fixed<{bits},{integer}>", unrolled=unrolled)
    found = _simulated(model, folder, x)
    np.save(arguments["answers"], found)
    _clean(folder)
    return {
        "integer_bits": integer,
        "layers": [[len(layer.bias), layer.activation] for layer in layers],
        "bound": float(_bound(layers, x, 2.0 ** (integer - bits)).max()),
        "difference": float(np.abs(found - values).max()),
        "softmax": softmax,
        "strategy": "Latency" if unrolled else "Resource",
    }


def _run(layers: list[Dense], x: NDArray[Any]) -> tuple[NDArray[Any], float]:
    """The network in double precision, and the largest magnitude of a number in it."""
    import numpy as np

    largest = float(np.abs(x).max())
    for layer in layers:
        x = x @ layer.weights + layer.bias
        largest = max(largest, *(float(np.abs(v).max()) for v in (x, layer.weights, layer.bias)))
        x = _activated(layer, x)
    return x, largest


def _activated(layer: Dense, x: NDArray[Any]) -> NDArray[Any]:
    import numpy as np

    made: NDArray[Any] = x
    if layer.activation == "rectifier":
        made = np.maximum(x, 0.0)
    elif layer.activation == "logistic":
        made = 1.0 / (1.0 + np.exp(-x))
    elif layer.activation == "tanh":
        made = np.tanh(x)
    return made


def _bound(layers: list[Dense], x: NDArray[Any], step: float) -> NDArray[Any]:
    """The largest error of each answer; see the module."""
    import numpy as np

    error = np.full_like(x, step)
    for layer in layers:
        arrives = (np.abs(x) + error).sum(axis=1, keepdims=True)
        error = error @ np.abs(layer.weights) + arrives * step + (len(layer.weights) + 2) * step
        x = _activated(layer, x @ layer.weights + layer.bias)
        if layer.activation in _ACTIVATIONS:
            _, slope, added = _ACTIVATIONS[layer.activation]
            error = error * slope + added + step
    return error


def _project(
    layers: list[Dense], size: int, folder: Path, arguments: dict[str, Any], precision: str, *, unrolled: bool
) -> Any:
    from hls4ml.model.graph import ModelGraph
    from hls4ml.utils.config import create_config

    described: list[dict[str, Any]] = [{"class_name": "InputLayer", "name": "x", "input_shape": [size]}]
    for number, layer in enumerate(layers):
        before, units = layer.weights.shape
        described.append(
            {
                "class_name": "Dense",
                "name": f"dense{number}",
                "n_in": before,
                "n_out": units,
                "use_bias": True,
                "weight_data": layer.weights,
                "bias_data": layer.bias,
            }
        )
        if layer.activation in _ACTIVATIONS:
            name = _ACTIVATIONS[layer.activation][0]
            described.append({"class_name": "Activation", "name": f"{name}{number}", "activation": name, "n_in": units})
    config = create_config(
        output_dir=str(folder), project_name=PROJECT, backend="Vitis", part=arguments["part"],
        clock_period=arguments["clock_ns"],
    )  # fmt: skip
    strategy = "Latency" if unrolled else "Resource"
    reuse = 1 if unrolled else size
    config["HLSConfig"] = {"Model": {"Precision": precision, "ReuseFactor": reuse, "Strategy": strategy}}
    config["IOType"] = "io_parallel"
    with _without_keras():
        model = ModelGraph.from_layer_list(config, described, ["x"], [described[-1]["name"]])
        model.write()
    return model


@contextlib.contextmanager
def _without_keras() -> Iterator[None]:
    """hls4ml imports Keras, which takes seconds, to see whether a setting is a Keras model; none is."""
    hidden = "keras" not in sys.modules
    if hidden:
        sys.modules["keras"] = None  # type: ignore[assignment]  # an import of it fails
    try:
        yield
    finally:
        if hidden:
            del sys.modules["keras"]


def _simulated(model: Any, folder: Path, x: NDArray[Any]) -> NDArray[Any]:
    """What the circuit answers, by its C++ compiled for this machine."""
    import numpy as np

    digest = hashlib.sha256(x.tobytes())
    for file in sorted((folder / "firmware").rglob("*")):
        if file.suffix in (".h", ".cpp", ".txt"):
            digest.update(file.name.encode() + file.read_bytes())
    key = digest.hexdigest()
    if key not in _known:
        if shutil.which("g++") is None:
            raise UnsupportedModelError(
                "The C++ of the circuit cannot be simulated: g++ is not installed.", remedy="install g++."
            )
        script = folder / "build_lib.sh"
        text = script.read_text("utf-8")
        script.write_text(text.replace("-O3", "-O0"), "utf-8")  # a few examples run sooner than they are optimized
        done = subprocess.run(["bash", "build_lib.sh"], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S607
        script.write_text(text, "utf-8")
        if done.returncode:
            raise UnsupportedModelError(
                f"The C++ of the circuit does not compile: {done.stderr[-500:]}", remedy="report this with the model."
            )
        model.config.backend.compile = lambda _: str(next((folder / "firmware").glob("*.so")))
        model._compile()
        found = np.asarray(model.predict(np.ascontiguousarray(x, np.float32)), np.float64)
        _known[key] = found.reshape(len(x), -1)
        while len(_known) > 8:
            del _known[next(iter(_known))]
    return _known[key]


def _clean(folder: Path) -> None:
    """Leave sources alone, and no path of this machine."""
    for library in (folder / "firmware").glob("*.so"):
        library.unlink()
    settings = folder / "hls4ml_config.yml"
    settings.write_text(settings.read_text("utf-8").replace(str(folder), "."), "utf-8")
