"""TensorFlow's frozen graph: one file with operators and weights, and without a signature. Read without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from deploykit.core.errors import ModelFileError
from deploykit.loading._contract import Format, Summary, Weight
from deploykit.loading._frozen_pb.constants import check_sizes, constants
from deploykit.loading._frozen_pb.cut import cut
from deploykit.loading._frozen_pb.ends import PLACEHOLDERS, check_wires, signature_of, specs, unread
from deploykit.loading._frozen_pb.mistakes import begins_with_node, mistake
from deploykit.loading._frozen_pb.session import GraphSession
from deploykit.loading._saved_model.graph import MetaGraph, Signature, base, read_graph
from deploykit.loading._saved_model.kinds import KINDS
from deploykit.loading._saved_model.layers import walked
from deploykit.loading._saved_model.scan import check_operators
from deploykit.readers.protobuf import WireError


class FrozenPb(Format):
    """A GraphDef whose variables are constants; its operators are scanned, since some touch files or run Python."""

    name = "frozen_pb"
    label = "Frozen graph"
    help = "TensorFlow graph with its weights in one file; inputs and outputs are guessed or named."
    suffixes = (".pb",)
    full_group = "tensorflow"
    kinds = KINDS
    names_ends = True

    def matches(self, path: Path, head: bytes) -> bool:
        """A node of a graph: its name, then its operator."""
        del path
        return begins_with_node(head)

    def mistake(self, path: Path, head: bytes) -> ModelFileError | None:
        """Parts of SavedModels and of checkpoints, and graphs as text."""
        return mistake(path, head)

    def read(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Scan the operators, guess the ends, and count the weights; shapes of outputs only where the file has them."""
        del imports
        meta, signature, guessed = _opened(path, trusted=trusted)
        found = walked(meta, signature)
        inputs, outputs = specs(meta, signature.inputs), specs(meta, signature.outputs)
        if not all(spec.dtype and spec.shape is not None for spec in (*inputs, *outputs)):
            outputs = ()
        flaws = [
            f"the constant {constant.name!r} holds {flaw}: outputs will be wrong; export the model again."
            for constant in constants(meta, str(path))
            if constant.name in found.weights and (flaw := constant.flaw())
        ]
        said = [_guess(signature)] if guessed else []
        return Summary(inputs, outputs, tuple(found.layers), sum(found.weights.values()), (*said, *flaws))

    def read_fully(self, path: Path, *, trusted: bool, imports: tuple[str, ...]) -> Summary:
        """Let TensorFlow infer the shapes of inputs and outputs."""
        summary = self.read(path, trusted=trusted, imports=imports)
        meta, signature, _ = _opened(path, trusted=trusted)
        session = self._open_given(path, imports=imports, trusted=trusted)
        known = {spec.name: spec.operator for spec in specs(meta, signature.outputs)}
        outputs = tuple(replace(spec, operator=known[spec.name]) for spec in session.outputs)
        return replace(summary, inputs=session.inputs, outputs=outputs)

    def cut(
        self, path: Path, target: Path, inputs: tuple[str, ...], outputs: tuple[str, ...], *, trusted: bool
    ) -> None:
        """Write the part of the graph between some tensors; those left out are guessed."""
        meta = _graph(path, trusted=trusted)
        nodes = {base(name) for name in inputs} or {n.name for n in meta.nodes.values() if n.op in PLACEHOLDERS}
        cut(path, target, inputs, outputs or [node.name for node in unread(meta, nodes)])

    def weights(self, path: Path) -> Iterator[Weight]:
        """Constants with the operator that reads them first."""
        meta, signature, _ = _opened(path, trusted=True)
        owners = walked(meta, signature).owners
        for constant in constants(meta, str(path)):
            if constant.name in owners and len(constant.shape) >= 2:
                yield Weight(owners[constant.name], constant.name, constant.shape, constant.dtype, constant.values)

    def _open_given(self, path: Path, *, imports: tuple[str, ...], trusted: bool) -> GraphSession:
        del imports
        _, signature, _ = _opened(path, trusted=trusted)
        return GraphSession(path, *({t.key: t.name for t in side} for side in (signature.inputs, signature.outputs)))


def _opened(path: Path, *, trusted: bool) -> tuple[MetaGraph, Signature, bool]:
    """The graph, its ends, and whether they were guessed."""
    meta = _graph(path, trusted=trusted)
    return meta, *signature_of(meta, str(path))


def _graph(path: Path, *, trusted: bool) -> MetaGraph:
    """The graph, with harmless operators and constants of possible sizes."""
    try:
        meta = read_graph(memoryview(path.read_bytes()))
    except WireError as error:
        raise ModelFileError(
            f"{path}: truncated or damaged: {error}.", remedy="copy, download or export the model again."
        ) from error
    if not trusted:
        check_operators(meta, str(path))
    check_wires(meta, str(path))
    check_sizes(meta, str(path))
    return meta


def _guess(signature: Signature) -> str:
    taken, given = (", ".join(repr(t.key) for t in side) or "none" for side in (signature.inputs, signature.outputs))
    return (
        f"the file does not say what its inputs and outputs are; guessed: inputs {taken}, outputs {given}. Name others "
        "with inputs=[…] and outputs=[…]."
    )


ADAPTER = FrozenPb()
