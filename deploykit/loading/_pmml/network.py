"""The network in a PMML document: matrices and what comes before, between and behind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploykit.core.errors import ModelFileError, UnsupportedModelError
from deploykit.loading._pmml.document import Document, Element, Neurons, PmmlError, number, read_document

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most cells of a layer's matrix.
MAX_CELLS = 1 << 28
ACTIVATIONS = frozenset(
    {"identity", "logistic", "tanh", "rectifier", "exponential", "reciprocal", "square", "Gauss", "sine", "cosine",
     "Elliott", "arctan", "threshold"}
)  # fmt: skip
_NORMALIZATIONS = frozenset({"none", "softmax", "simplemax"})
_DEPTH = 16


@dataclass(frozen=True)
class Affine:
    """``scale * field + shift``; of a constant the field is ""."""

    field: str
    scale: float
    shift: float


@dataclass(frozen=True)
class Dense:
    """A layer of neurons.

    Attributes:
        sources: The layers it reads, side by side; 0 is the inputs.
        weights: Shape (values it reads, units).
        bias: Of each unit.
        activation: One of `ACTIVATIONS`.
        threshold: What the activation ``threshold`` compares with.
        normalization: ``"none"``, ``"softmax"`` or ``"simplemax"``.
    """

    sources: tuple[int, ...]
    weights: NDArray[Any]
    bias: NDArray[Any]
    activation: str
    threshold: float
    normalization: str


@dataclass(frozen=True)
class Network:
    """A network.

    Attributes:
        fields: Names of the input fields, in the order of the mining schema.
        chosen: Which field each value of the first layer is, with its scale and shift.
        layers: In order.
        output: What it gives is called: the target.
        taken: Unit of the last layer for each value it gives, with its scale and shift.
        classes: Names of the classes; () for numbers.
        ignored: What the document says besides that is not followed, in words.
    """

    fields: tuple[str, ...]
    chosen: tuple[tuple[int, float, float], ...]
    layers: tuple[Dense, ...]
    output: str
    taken: tuple[tuple[int, float, float], ...]
    classes: tuple[str, ...]
    ignored: tuple[str, ...]


def read_network(path: Path) -> Network:
    """Read the network of a document.

    Raises:
        ModelFileError: Truncated, broken or hostile.
        UnsupportedModelError: It is another model, or uses what is not known; names it.
    """
    document = read_document(path)
    try:
        return _network(document, path)
    except PmmlError as error:
        raise ModelFileError(f"{path}: {error}.", remedy="export the model again.") from error


def _network(document: Document, path: Path) -> Network:
    root = document.root
    assert root is not None  # a document without one does not parse
    models = [child for child in root.children if child.tag.endswith(("Model", "Network", "ModelComposite"))]
    found = [model for model in models if model.tag == "NeuralNetwork"]
    if root.tag != "PMML" or len(models) != 1 or not found:
        kinds = ", ".join(model.tag for model in models) or "no model"
        raise UnsupportedModelError(
            f"{path}: A PMML document with {kinds}, and only one NeuralNetwork is read.",
            remedy="export the model as ONNX from the tool that made it.",
        )
    (model,) = found
    fields, ignored = _fields(model)
    derived = {
        item.attributes.get("name", ""): item
        for part in (root.first("TransformationDictionary"), model.first("LocalTransformations"))
        for item in part.find("DerivedField")
    }
    places = {name: place for place, name in enumerate(fields)}
    inputs = [(item.attributes.get("id", ""), item) for item in model.first("NeuralInputs").find("NeuralInput")]
    chosen = []
    for _, item in inputs:
        made = _expression(item.first("DerivedField"), derived, path)
        if made.field not in places:
            raise PmmlError(
                f"an input reads the field {made.field!r}, which is not an active field of the mining schema"
            )
        chosen.append((places[made.field], made.scale, made.shift))
    layers, last = _layers(model, document.layers, [name for name, _ in inputs])
    output, taken, classes = _outputs(model, last, derived, path)
    if not (chosen and layers and taken):
        raise PmmlError("the network has no inputs, layers or outputs")
    return Network(fields, tuple(chosen), tuple(layers), output, taken, classes, tuple(ignored))


def _fields(model: Element) -> tuple[tuple[str, ...], list[str]]:
    """The active fields, and treatments of missing values and outliers, which are not followed."""
    items = model.first("MiningSchema").find("MiningField")
    active = [item for item in items if item.attributes.get("usageType", "active") == "active"]
    names = tuple(item.attributes.get("name", "") for item in active)
    if len(set(names)) < len(names):
        raise PmmlError("the mining schema names a field twice")
    treated = [
        item.attributes.get("name", "") for item in active
        if "missingValueReplacement" in item.attributes or item.attributes.get("outliers", "asIs") != "asIs"
    ]  # fmt: skip
    said = f"missing values and outliers are not replaced as the file says ({', '.join(treated[:6])})"
    return names, [said] if treated else []


def _expression(element: Element, derived: Mapping[str, Element], path: Path, depth: int = 0) -> Affine:
    """What a derived field is made of."""
    inner = [child for child in element.children if child.tag not in ("Extension", "Value", "Interval")]
    if len(inner) != 1 or depth > _DEPTH:
        raise PmmlError(f"{element.tag} must hold one expression, no more than {_DEPTH} deep")
    return _evaluated(inner[0], derived, path, depth + 1)


def _evaluated(item: Element, derived: Mapping[str, Element], path: Path, depth: int) -> Affine:
    if depth > _DEPTH:
        raise PmmlError(f"expressions are nested more than {_DEPTH} deep")
    if item.tag == "FieldRef":
        name = item.attributes.get("field", "")
        return _expression(derived[name], derived, path, depth) if name in derived else Affine(name, 1.0, 0.0)
    if item.tag == "Constant":
        return Affine("", 0.0, number(item.text.strip(), "a constant"))
    if item.tag == "NormContinuous":
        scale, shift = _line(item, path)
        inner = _evaluated(Element("FieldRef", {"field": item.attributes.get("field", "")}), derived, path, depth)
        return Affine(inner.field, scale * inner.scale, scale * inner.shift + shift)
    if item.tag == "Apply" and item.attributes.get("function") in ("+", "-", "*", "/"):
        parts = [_evaluated(child, derived, path, depth + 1) for child in item.children if child.tag != "Extension"]
        if len(parts) == 2 and (made := _combined(item.attributes["function"], *parts)) is not None:
            return made
    named = f" {item.attributes['function']}" if "function" in item.attributes else ""
    raise UnsupportedModelError(
        f"{path}: The inputs are prepared by {item.tag}{named}, and only scaling and shifting of numbers is read.",
        remedy="prepare such fields before the model, and export it without them.",
    )


def _combined(operator: str, left: Affine, right: Affine) -> Affine | None:
    if operator in "+-" and not (left.field and right.field):
        sign = 1.0 if operator == "+" else -1.0
        name, scale = (left.field, left.scale) if left.field else (right.field, sign * right.scale)
        return Affine(name, scale, left.shift + sign * right.shift)
    if operator == "*" and not (left.field and right.field):
        varies, factor = (left, right.shift) if left.field else (right, left.shift)
        return Affine(varies.field, varies.scale * factor, varies.shift * factor)
    if operator == "/" and not right.field and right.shift:
        return Affine(left.field, left.scale / right.shift, left.shift / right.shift)
    return None


def _line(item: Element, path: Path) -> tuple[float, float]:
    """Scale and shift of a NormContinuous with two points."""
    points = [(point.number("orig"), point.number("norm")) for point in item.find("LinearNorm")]
    if len(points) != 2 or points[0][0] == points[1][0] or item.attributes.get("outliers", "asIs") != "asIs":
        raise UnsupportedModelError(
            f"{path}: NormContinuous with {len(points)} points and outliers "
            f"{item.attributes.get('outliers', 'asIs')!r}; two points, as they are, can be read.",
            remedy="scale the field before the model, and export it without.",
        )
    (x0, y0), (x1, y1) = points
    scale = (y1 - y0) / (x1 - x0)
    return scale, y0 - scale * x0


def _layers(model: Element, found: Sequence[Neurons], inputs: list[str]) -> tuple[list[Dense], dict[str, int]]:
    """The layers, and the units of the last one by the names of its neurons."""
    import numpy as np

    known: dict[str, tuple[int, int]] = {}
    counts = [len(inputs)]
    layers: list[Dense] = []

    def add(names: Sequence[str], group: int) -> None:
        for place, name in enumerate(names):
            if not name or name in known:
                raise PmmlError(f"two neurons are called {name!r}")
            known[name] = (group, place)

    add(inputs, 0)
    for place, neurons in enumerate(found, 1):
        settings = neurons.layer.attributes
        declared = settings.get("numberOfNeurons", "")
        if declared and declared != str(len(neurons.ids)):
            raise PmmlError(f"layer {place} has {len(neurons.ids)} neurons and declares {declared[:20]}")
        if unknown := next((source for source in neurons.sources if source not in known), None):
            raise PmmlError(f"a connection in layer {place} comes from {unknown!r}, which is not before it")
        groups = tuple(sorted({known[source][0] for source in neurons.sources})) or (place - 1,)
        starts = dict(zip(groups, np.cumsum([0, *(counts[group] for group in groups)]).tolist(), strict=False))
        height = sum(counts[group] for group in groups)
        if height * len(neurons.ids) > MAX_CELLS or not neurons.ids:
            raise PmmlError(f"layer {place} has a matrix of {height:,} × {len(neurons.ids):,}")
        rows = np.fromiter((starts[known[s][0]] + known[s][1] for s in neurons.sources), np.int64)
        columns = np.repeat(np.arange(len(neurons.ids)), np.diff(neurons.ends, prepend=0))
        weights = np.zeros((height, len(neurons.ids)))
        np.add.at(weights, (rows, columns), np.asarray(neurons.weights))
        layers.append(Dense(groups, weights, np.array(neurons.bias), *_function(model, neurons.layer, place)))
        add(neurons.ids, place)
        counts.append(len(neurons.ids))
    return layers, {name: column for name, (group, column) in known.items() if group == len(found)}


def _function(model: Element, layer: Element, place: int) -> tuple[str, float, str]:
    """Activation, threshold and normalization of a layer: its own, or those of the network."""
    own = {**model.attributes, **layer.attributes}
    activation, normalization = own.get("activationFunction", ""), own.get("normalizationMethod", "none")
    if activation not in ACTIVATIONS or normalization not in _NORMALIZATIONS:
        raise PmmlError(
            f"layer {place} computes {activation[:40]!r} and normalizes by {normalization[:40]!r}: not known"
        )
    return activation, number(own.get("threshold", "0"), "threshold"), normalization


def _outputs(
    model: Element, units: Mapping[str, int], derived: Mapping[str, Element], path: Path
) -> tuple[str, tuple[tuple[int, float, float], ...], tuple[str, ...]]:
    """The target, the units that stand for its values, and the classes."""
    taken: list[tuple[int, float, float]] = []
    names: list[str] = []
    classes: list[str] = []
    for item in model.first("NeuralOutputs").find("NeuralOutput"):
        neuron = item.attributes.get("outputNeuron", "")
        if neuron not in units:
            raise PmmlError(f"an output is the neuron {neuron!r}, which is not in the last layer")
        expression = next(_expressions(item), Element("nothing", {}))
        if expression.tag == "NormDiscrete":
            classes.append(expression.attributes.get("value", ""))
            names.append(expression.attributes.get("field", ""))
            taken.append((units[neuron], 1.0, 0.0))
            continue
        made = _expression(item.first("DerivedField"), derived, path)  # it says what becomes of the target
        if not made.scale:
            raise PmmlError(f"the output {made.field!r} is a constant")
        names.append(made.field)
        taken.append((units[neuron], 1 / made.scale, -made.shift / made.scale))
    if classes and len(classes) != len(taken):
        raise PmmlError("outputs are both classes and numbers")
    return names[0] if len(set(names)) == 1 else "predicted", tuple(taken), tuple(classes)


def _expressions(item: Element) -> Iterator[Element]:
    return (child for child in item.first("DerivedField").children if child.tag != "Extension")
