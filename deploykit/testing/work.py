"""Task functions that convert, transform and run models in child processes, for the conformance suites and tests."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.converters import _keras
from deploykit.converters._contract import CONVERTERS, Job
from deploykit.core.candidate import Target
from deploykit.core.extras import require
from deploykit.core.problem import Facts
from deploykit.data.dataset import Dataset
from deploykit.loading._contract import FORMATS
from deploykit.loading._load import load
from deploykit.runtimes._contract import RUNTIMES, runtimes_for
from deploykit.sandbox.supervisor import shared
from deploykit.sandbox.task import Report, Task
from deploykit.surgery.channels.keras_graph import flat
from deploykit.surgery.channels.onnx_axes import plain
from deploykit.surgery.weights import keras_kernels, onnx_kernels
from deploykit.surgery.weights.kernel import Kernel
from deploykit.testing import architectures
from deploykit.transforms._contract import TRANSFORMS, TransformJob

if TYPE_CHECKING:
    from numpy.typing import NDArray


def make(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: save the architecture ``name`` at ``path``, with examples and its outputs beside it as ``.npz``."""
    import numpy as np

    del report
    path = Path(arguments["path"])
    model = architectures.build(arguments["name"])
    _keras.save(model, path)
    feeds = architectures.examples(model, arguments["count"])
    outputs = {name: np.asarray(value) for name, value in _keras.called(_keras.exportable(model), feeds).items()}
    store(path.with_suffix(".inputs.npz"), feeds)
    store(path.with_suffix(".outputs.npz"), outputs)
    return {"inputs": list(feeds), "outputs": list(outputs)}


def convert(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run one converter."""
    del report
    converter = CONVERTERS.get(arguments["converter"])
    job = Job(
        Path(arguments["source"]),
        Path(arguments["target"]),
        converter.accepts,
        trusted=arguments.get("trusted", False),
    )
    converter.convert(job)
    return {"notes": job.notes}


class _Seen(dict[str, Any]):
    """Parameters that remember which of them were read; all of them when they are copied."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.read = set[str]()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As `dict.get`."""
        self.read.add(name)
        return super().get(name, default)

    def __iter__(self) -> Iterator[str]:
        return super().__iter__()  # having one of its own, a copy reads each value


def transform(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run one variant of a technique."""
    technique = TRANSFORMS.get(arguments["technique"])
    variant = technique.variant(arguments["variant"])
    reports: list[tuple[float, float, str]] = []

    def tell(done: float, total: float, words: str) -> None:
        reports.append((done, total, words))
        report(done, total, words)

    parameters = _Seen(technique.complete(arguments["parameters"]))
    job = TransformJob(
        Path(arguments["source"]),
        Path(arguments["target"]),
        min(variant.accepts),
        parameters=parameters,
        data=Dataset.open(Path(arguments["data"])) if arguments["data"] else None,
        teacher=Path(arguments["teacher"]),
        teacher_format=arguments["teacher_format"],
        seed=arguments["seed"],
        report=tell,
    )
    variant.apply(job)
    return {"notes": job.notes, "reports": reports, "read": sorted(parameters.read)}


def predict(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: run a model on the ``.npz`` file ``inputs`` and write ``outputs``."""
    import numpy as np

    del report
    with np.load(arguments["inputs"], allow_pickle=False) as file:
        feeds = dict(file)
    path = Path(arguments["path"])
    if runtime := arguments["runtime"]:
        session = RUNTIMES.get(runtime).open(path, Target(runtime), arguments["format"])
    else:
        session = FORMATS.get(arguments["format"]).open_given(path, None)
    outputs = session.predict(feeds)
    session.close()
    store(Path(arguments["outputs"]), outputs)
    return {"outputs": list(outputs)}


def make_subclassed(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: save a subclassed model (features (batch, 4) → three twos where all features are one)."""
    import keras
    import numpy as np

    from deploykit.testing.architectures import subclassed

    del report
    keras.utils.clear_session()
    model = subclassed()
    model(np.ones((1, 4), np.float32))
    model.save(arguments["path"])
    return {}


def make_without_signature(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write a SavedModel that has functions but no signature."""
    import tensorflow as tf

    del report
    module = tf.Module()
    signature = [tf.TensorSpec([None], tf.float32)]
    module.double = tf.function(lambda x: x * 2.0, input_signature=signature)
    module.triple = tf.function(lambda x: x * 3.0, input_signature=signature)  # one alone would become the signature
    tf.saved_model.save(module, arguments["path"])
    return {}


def make_counter(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: a SavedModel or TFLite file that adds its input to a variable, through a condition, and gives the variable.

    ``format``: ``"saved_model"``, ``"tflite"``, or ``"tflite_tensors"``: an LSTM that keeps its state in tensors.
    """
    import tensorflow as tf

    del report
    if arguments["format"] == "tflite_tensors":
        import tf_keras

        tf_keras.utils.set_random_seed(0)
        model = tf_keras.Sequential([tf_keras.layers.LSTM(4, input_shape=(5, 3))])
        function = tf.function(model, input_signature=[tf.TensorSpec((1, 5, 3), tf.float32)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
        Path(arguments["path"]).write_bytes(converter.convert())
        return {}
    module = tf.Module()
    module.total = tf.Variable(tf.zeros((1, 3)), name="total")
    module.scale = tf.Variable(tf.ones((1, 3)), name="scale")

    @tf.function(input_signature=[tf.TensorSpec((1, 3), tf.float32, name="x")])  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def add(x: Any) -> dict[str, Any]:
        tf.cond(tf.reduce_sum(x) > 0, lambda: module.total.assign_add(x * module.scale), lambda: tf.identity(x))
        return {"y": tf.identity(module.total)}

    folder = arguments["path"] if arguments["format"] == "saved_model" else f"{arguments['path']}.saved"
    tf.saved_model.save(module, folder, signatures=add)
    if arguments["format"] == "tflite":
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.experimental_enable_resource_variables = True
        Path(arguments["path"]).write_bytes(converter.convert())
    return {}


def weights(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write all weights of a ``.keras`` file, by layer and variable, to the ``.npz`` file ``target``."""
    import numpy as np

    del report
    path = Path(arguments["path"])
    model = _keras.load(Job(path, path, "keras"))
    layers = {id(layer): layer for layer in _keras.all_layers(model)}.values()
    own = [(layer, w) for layer in layers for w in layer.weights if len(w.path.split("/")) == 2]
    store(Path(arguments["target"]), {f"{layer.name}.{w.name}": np.asarray(w) for layer, w in own})
    return {}


def kernels(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write the kernels of a file of ``format`` to the ``.npz`` file ``target``, input channels last."""
    del report
    path = Path(arguments["path"])
    read = _READERS[arguments["format"]]
    found = {k.layer: k.rows.reshape(len(k.rows), -1, k.places).transpose(0, 2, 1) for k in read(path)}
    store(Path(arguments["target"]), {name.replace("/", "|"): rows for name, rows in found.items()})
    return {}


def _keras_kernels(path: Path) -> list[Kernel]:
    return keras_kernels.read(flat(_keras.load(Job(path, path, "keras"))))


def _onnx_kernels(path: Path) -> list[Kernel]:
    return onnx_kernels.read(plain(require("onnx", "").load(str(path))))


#: Format → what reads its kernels.
_READERS = {"keras": _keras_kernels, "onnx": _onnx_kernels}


# -- called by tests --------------------------------------------------------------------------------------------------


def run(function: str, group: Any, *, fresh: bool = False, **arguments: Any) -> dict[str, Any]:
    """Run a task function in a child: one of this module, or ``module:function`` of this package."""
    place = function if ":" in function else f"work:{function}"
    task = Task(f"deploykit.testing.{place}", arguments, group, fresh=fresh, name=function)
    return shared().run(task)


def made(name: str, folder: Path, count: int = 24) -> Path:
    """An architecture as a ``.keras`` file; `examples_of` and `outputs_of` give what was computed with it."""
    path = folder / f"{name}.keras"
    if not path.exists():
        run("make", "tensorflow", name=name, path=str(path), count=count)
    return path


def converted(converter: str, source: Path, target: Path, *, trusted: bool = False) -> dict[str, Any]:
    """Convert in a child; gives the notes."""
    group = CONVERTERS.get(converter).group
    result = run("convert", group, converter=converter, source=str(source), target=str(target), trusted=trusted)
    notes: dict[str, Any] = result["notes"]
    return notes


def transformed(
    technique: str,
    variant: str,
    source: Path,
    target: Path,
    data: Path | None = None,
    *,
    seed: int = 0,
    teacher: Path | None = None,
    **parameters: Any,
) -> dict[str, Any]:
    """Apply a variant in a child; gives the notes, with ``"reports"`` and ``"read"``, the parameters that it asked for.

    The source is the original model as well unless another ``teacher`` is named.
    """
    adapter = TRANSFORMS.get(technique)
    if any(p.usual is not None and p.name not in parameters for p in adapter.parameters):
        parameters = adapter.fitted(adapter.complete(parameters), Facts.of(load(source)))
    result = run(
        "transform",
        TRANSFORMS.get(technique).variant(variant).group,
        technique=technique,
        variant=variant,
        source=str(source),
        target=str(target),
        data=str(data) if data else "",
        teacher=str(teacher or source),
        teacher_format=load(teacher).format if teacher else min(TRANSFORMS.get(technique).variant(variant).accepts),
        parameters=parameters,
        seed=seed,
    )
    return {**result["notes"], "reports": result["reports"], "read": result["read"]}


def predicted(path: Path, format_name: str, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Outputs of a model file by name, run by the first runtime of its format, or by its own framework."""
    runtime = next(iter(runtimes_for(format_name)), None)
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        given, found = Path(folder) / "given.npz", Path(folder) / "found.npz"
        store(given, feeds)
        run(
            "predict",
            runtime.group if runtime else FORMATS.get(format_name).given_group(),
            fresh=runtime is not None,  # threads are set once a process; and tests add runtimes
            path=str(path),
            format=format_name,
            runtime=runtime.name if runtime else "",
            inputs=str(given),
            outputs=str(found),
        )
        return arrays(found)


def weights_of(path: Path) -> dict[str, NDArray[Any]]:
    """Weights of the layers of a ``.keras`` file, as ``layer.variable``."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        target = Path(folder) / "weights.npz"
        run("weights", "tensorflow", path=str(path), target=str(target))
        return arrays(target)


def kernels_of(path: Path, format_name: str) -> dict[str, NDArray[Any]]:
    """Kernels of a file by layer, shape (outputs, places, input channels)."""
    with tempfile.TemporaryDirectory(prefix="deploykit-") as folder:
        target = Path(folder) / "kernels.npz"
        run("kernels", "tensorflow", path=str(path), format=format_name, target=str(target))
        return arrays(target)


def store(path: Path, found: Mapping[str, Any]) -> None:
    """Write arrays as an ``.npz`` file."""
    import numpy as np

    np.savez(path, **found)


def arrays(path: Path) -> dict[str, NDArray[Any]]:
    """All arrays of an ``.npz`` file."""
    import numpy as np

    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def examples_of(path: Path) -> dict[str, NDArray[Any]]:
    """The examples `made` has computed outputs for."""
    return arrays(path.with_suffix(".inputs.npz"))


def outputs_of(path: Path) -> dict[str, NDArray[Any]]:
    """The outputs `made` has computed."""
    return arrays(path.with_suffix(".outputs.npz"))
