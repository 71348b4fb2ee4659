"""What the outputs of a TFLite file lose when operators become integer, by LiteRT Quantizer; see `budget`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.extras import require
from deploykit.data.dataset import Dataset
from deploykit.loading.tflite import ADAPTER as TFLITE
from deploykit.runtimes.litert import ADAPTER as LITERT
from deploykit.sandbox.task import Report
from deploykit.surgery.layer_times import in_turns
from deploykit.surgery.layers.loss import MOST
from deploykit.surgery.mixing.budget import Operator, damage_of
from deploykit.surgery.quantization import calibration, litert

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Operators without weights that the quantizer has in integers.
_LIGHT = frozenset(
    {
        "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "HARD_SWISH", "LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD",
        "RELU", "RESHAPE", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SOFTMAX", "STRIDED_SLICE", "SUB", "SUM",
        "TANH", "TRANSPOSE",
    }
)  # fmt: skip
#: Operators whose weights the quantizer reads with quantized activations only on the fly.
_WEIGHTS_ALONE = frozenset({"EMBEDDING_LOOKUP"})
#: Seconds that a product of two numbers is taken to last: only how operators compare matters.
_SECONDS = 1e-10
#: Calibrated ranges by the names of tensors.
Ranges = Mapping[str, Mapping[str, Any]]


class Mixing:
    """A TFLite file whose operators are quantized one by one or several together.

    Args:
        source: The file, in float.
        data: The data; their calibration examples are read.
        notes: Gets the number of examples.
        ranges: What `calibrate` gave before; None to measure it.
        report: Called with the progress.

    Attributes:
        operators: Those that compete for 8 bits, in the order of the file.
        ranges: The calibrated ranges.
    """

    def __init__(
        self, source: Path, data: Dataset, notes: dict[str, Any], report: Report, ranges: Ranges | None = None
    ) -> None:
        self._source, self._report = source, report
        self.operators = _operators(source)
        self._kinds = {o.name: o.type for o in self.operators}
        if not any(o.weights for o in self.operators):
            raise UnsupportedModelError(
                "There is not an operator with weights in float32 in the file that could be stored in 8 bits.",
                remedy="quantize the float model, or skip this technique.",
            )
        self.ranges = self._calibrated(data, notes) if ranges is None else ranges
        session = LITERT.open(source, Target(LITERT.name), TFLITE.name)
        batches = calibration.Batches(data, session.inputs, session.predict, calibration.BATCH, notes)
        self._size = session.batch_size or 1
        self._batches: list[calibration.Batch] = []
        for batch in batches:
            self._batches.append(batch)
            if sum(len(next(iter(b.values()))) for b in self._batches) >= MOST:
                break
        session.close()
        self._wanted = self._answers(source)

    def measured(self, left: Collection[str] = ()) -> list[Operator]:
        """Operators with what quantizing each of them alone costs."""
        found = []
        for number, operator in enumerate(self.operators):
            damage, problem = (0.0, "") if operator.name in left else self.damage([operator.name])
            found.append(replace(operator, damage=damage, problem=problem))
            self._report(number + 1, len(self.operators), "quantizing operators one by one")
        return found

    def damage(self, names: Sequence[str]) -> tuple[float, str]:
        """What the outputs lose when some operators are quantized together, and what is wrong then."""
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            target = Path(folder) / "mixed.tflite"

            def answers() -> Mapping[str, NDArray[Any]]:
                self.write(names, target)
                return self._answers(target)

            return damage_of(answers, self._wanted)

    def share(self, names: Sequence[str], patience: int) -> float:
        """What share of the float file's time is left when some operators are quantized: one example, one thread.

        Args:
            names: Their names.
            patience: How many times as long as usual both are called.
        """
        one = {name: values[: self._size] for name, values in self._batches[0].items()}
        with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
            target = Path(folder) / "mixed.tflite"
            self.write(names, target)
            sessions = [LITERT.open(path, Target(LITERT.name), TFLITE.name) for path in (self._source, target)]
            arrays = [session.arrange(one) for session in sessions]
            calls = [partial(session.run, given) for session, given in zip(sessions, arrays, strict=True)]
            whole, part = in_turns(calls, patience)
            for session in sessions:
                session.close()
        return part / whole

    def write(self, names: Collection[str], target: Path) -> None:
        """Write the file with some operators quantized."""
        if not names:
            target.write_bytes(self._source.read_bytes())
            return
        chosen = {name: kind for name, kind in self._kinds.items() if name in names}
        made = require("litert_quantizer.quantizer").Quantizer(str(self._source), litert.static_recipe(chosen))
        found = made.quantize(self.ranges, enable_progress_bar=False, enable_progress_report=False)
        target.write_bytes(found.quantized_model)

    def _calibrated(self, data: Dataset, notes: dict[str, Any]) -> Ranges:
        made = require("litert_quantizer.quantizer").Quantizer(str(self._source), litert.static_recipe(self._kinds))
        examples = litert.examples_of(self._source, data, notes, self._report)
        found: Ranges = made.calibrate(examples, num_threads=1)
        return found

    def _answers(self, path: Path) -> dict[str, NDArray[Any]]:
        import numpy as np

        session = LITERT.open(path, Target(LITERT.name), TFLITE.name)
        parts = [session.predict(batch) for batch in self._batches]
        session.close()
        return {name: np.concatenate([np.atleast_1d(part[name]) for part in parts]) for name in parts[0]}


def _operators(source: Path) -> list[Operator]:
    weights = {p.name: p.weights for p in litert.parts_of(source) if p.type not in _WEIGHTS_ALONE}
    sizes, makers, found = _sizes(source), dict[str, tuple[str, ...]](), list[Operator]()
    for node in TFLITE.nodes(source):
        behind = tuple(dict.fromkeys(name for i in node.inputs for name in makers.get(i, ())))
        competes = node.name in weights or (node.operator in _LIGHT and bool(behind))
        if competes:
            held, given = weights.get(node.name, 0), sizes.get(node.outputs[0], (1, 1))
            # LiteRT does not say how long an operator takes: the products it computes stand for that.
            products = given[0] * max(1.0, held / given[1])
            found.append(Operator(node.name, node.operator, held, behind, seconds=products * _SECONDS))
        makers |= dict.fromkeys(node.outputs, (node.name,) if competes else behind)
    return found


def _sizes(source: Path) -> dict[str, tuple[int, int]]:
    """Of each tensor, how many numbers it has for one example, and how many channels, by its name."""
    import numpy as np

    interpreter = require("ai_edge_litert.interpreter").Interpreter(str(source))
    shapes = {str(d["name"]): [int(n) for n in d["shape"]] for d in interpreter.get_tensor_details()}
    return {name: (int(np.prod(shape)), shape[-1]) for name, shape in shapes.items() if shape and all(shape)}


def to_text(ranges: Ranges) -> str:
    """Ranges as text that `read` reads."""
    plain = {
        name: {end: [str(values.dtype), values.tolist()] for end, values in ends.items() if hasattr(values, "tolist")}
        for name, ends in ranges.items()
    }
    return json.dumps(plain)


def read(text: str) -> Ranges:
    """What `to_text` has written, as the quantizer takes it."""
    import numpy as np

    return {
        name: {end: np.array(values, dtype) for end, (dtype, values) in ends.items()}
        for name, ends in json.loads(text).items()
    }
