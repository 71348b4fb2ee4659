"""A SavedModel as TensorFlow Serving runs it: one graph in one session, and its signatures by their tensors.

What ``tf.saved_model.load`` gives checks shapes against the signature. TensorFlow Serving does not, and its clients
count on it: its own example declares examples of one number each, (batch, 1), and everyone sends it (batch,).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.candidate import Target
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.model import TensorSpec, signature_order
from deploykit.runtimes._session import Session

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SERVE = "serve"
#: Graphs in use, so that all signatures of a model share one.
_graphs: weakref.WeakValueDictionary[tuple[str, Target], Graph] = weakref.WeakValueDictionary()
_lock = threading.Lock()


class Graph:
    """A loaded graph.

    Args:
        tf: TensorFlow.
        path: The SavedModel's folder.
        target: Where it runs.
    """

    def __init__(self, tf: Any, path: Path, target: Target) -> None:
        from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

        v1 = tf.compat.v1
        metas = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
        meta = next((m for m in metas if _SERVE in m.meta_info_def.tags), metas[0])
        config = v1.ConfigProto(
            intra_op_parallelism_threads=target.threads,
            inter_op_parallelism_threads=1,
            device_count={"GPU": 0} if target.device == "cpu" else {},
        )
        self.graph = tf.Graph()
        self.session = v1.Session(graph=self.graph, config=config)
        weakref.finalize(self, self.session.close)
        with self.graph.as_default():
            self.meta = v1.saved_model.load(self.session, list(meta.meta_info_def.tags), str(path))


class SignatureSession(Session):
    """One signature of a graph.

    Args:
        graph: The graph.
        name: The signature.
        path: Where the graph is from.
        delegate: What runs it.
    """

    def __init__(self, graph: Graph, name: str, path: Path, delegate: str) -> None:
        from tensorflow.core.protobuf.config_pb2 import CallableOptions

        self._graph = graph  # its variables live as long as this object
        self.delegate = delegate
        if name not in graph.meta.signature_def:
            known = ", ".join(sorted(graph.meta.signature_def)) or "none"
            raise UnsupportedModelError(f"{path.name} has no signature {name!r}; it has {known}.")
        signature = graph.meta.signature_def[name]
        taken = sorted(signature.inputs.items(), key=lambda item: signature_order(item[0]))
        given = sorted(signature.outputs.items(), key=lambda item: signature_order(item[0]))
        self.inputs = tuple(self._spec(key, info) for key, info in taken)
        self.outputs = tuple(self._spec(key, info) for key, info in given)
        #: Names in the graph by names in the signature.
        self.tensors = {key: str(info.name) for key, info in (*taken, *given)}
        options = CallableOptions(feed=[info.name for _, info in taken], fetch=[info.name for _, info in given])
        # Session.run would compare shapes, see above.
        self._call = graph.session._make_callable_from_options(options)

    def _spec(self, key: str, info: Any) -> TensorSpec:
        if info.WhichOneof("encoding") != "name":
            raise UnsupportedModelError(
                f"{key!r} of the signature is not a dense tensor (it is sparse or composite).",
                remedy="export a signature whose inputs and outputs are dense tensors.",
            )
        shape = None
        if info.HasField("tensor_shape") and not info.tensor_shape.unknown_rank:
            shape = tuple(None if d.size < 0 else int(d.size) for d in info.tensor_shape.dim)
        # A signature may say another type than its tensor has, and TensorFlow goes by the tensor.
        dtype = self._graph.graph.get_tensor_by_name(info.name).dtype.base_dtype.name
        return TensorSpec(key, shape, dtype)

    def _run(self, arrays: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
        import numpy as np

        return [np.asarray(value) for value in self._call(*arrays)]


def open_signature(tf: Any, path: Path, target: Target, name: str, delegate: str) -> SignatureSession:
    """Open a signature; those of one model share its graph."""
    key = str(path), target
    with _lock:
        graph = _graphs.get(key)
        if graph is None:
            _graphs[key] = graph = Graph(tf, path, target)
    return SignatureSession(graph, name, path, delegate)
