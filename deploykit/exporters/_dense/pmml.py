"""Writes a dense network as PMML 4.4, in a child process.

Source: the Data Mining Group's specification, ``NeuralNetwork``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from deploykit._version import __version__
from deploykit.core.errors import UnsupportedModelError
from deploykit.core.serial import from_plain
from deploykit.exporters._dense.network import Dense
from deploykit.exporters._dense.source import layers_at
from deploykit.exporters._edge.tensors import Step
from deploykit.sandbox.task import Report

#: More weights make files of gigabytes, which engines read into memory.
MOST_WEIGHTS = 2_000_000


def write(arguments: dict[str, Any], report: Report) -> dict[str, Any]:
    """Task: write ``target``.

    Args:
        arguments: What `deploykit.exporters._dense.source.run` adds; ``target``; ``name``; ``fields``: names of the raw
            values; ``order``: which of them each value of the model is; ``steps``: `Step`s in order, with
            ``channels``, by which each looks up its operand; ``classes``: names, [] for numbers; ``outputs``: names of
            the values where there are no classes.
        report: Not used.

    Returns:
        ``layers``: units and activation of each layer.
    """
    layers = layers_at(arguments, len(arguments["order"]))
    if (count := sum(layer.weights.size for layer in layers)) > MOST_WEIGHTS:
        raise UnsupportedModelError(
            f"The network has {count:,} weights; PMML is written of {MOST_WEIGHTS:,} at most.",
            remedy="prune units, or export with another layout.",
        )
    softmax = layers[-1].activation == "softmax"
    units = len(layers[-1].bias)
    classes = [str(c) for c in arguments["classes"]] if softmax else []
    if softmax and len(classes) != units:
        classes = [str(number) for number in range(units)]
    outputs = arguments["outputs"]
    names = [outputs[0]] if units == 1 else [f"{outputs[0]}_{number}" for number in range(units)]
    steps = from_plain(tuple[Step, ...], arguments["steps"])
    with Path(arguments["target"]).open("w", encoding="utf-8") as file:
        for line in _lines(arguments, steps, layers, classes, names):
            file.write(f"{line}\n")
    return {"layers": [[len(layer.bias), layer.activation] for layer in layers], "classes": classes, "names": names}


def _lines(
    arguments: dict[str, Any], steps: Sequence[Step], layers: list[Dense], classes: list[str], names: list[str]
) -> Iterator[str]:
    fields, target = arguments["fields"], arguments["outputs"][0]
    yield '<?xml version="1.0" encoding="UTF-8"?>'
    yield '<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4">'
    yield f'<Header><Application name="deploykit" version="{__version__}"/></Header>'
    yield f'<DataDictionary numberOfFields="{len(fields) + (1 if classes else len(names))}">'
    yield from (f'<DataField name={quoteattr(f)} optype="continuous" dataType="double"/>' for f in fields)
    if classes:
        values = "".join(f"<Value value={quoteattr(c)}/>" for c in classes)
        yield f'<DataField name={quoteattr(target)} optype="categorical" dataType="string">{values}</DataField>'
    else:
        yield from (f'<DataField name={quoteattr(n)} optype="continuous" dataType="double"/>' for n in names)
    yield "</DataDictionary>"
    function = "classification" if classes else "regression"
    yield (
        f'<NeuralNetwork modelName={quoteattr(arguments["name"])} functionName="{function}" '
        'activationFunction="identity">'
    )
    yield "<MiningSchema>"
    yield from (f"<MiningField name={quoteattr(f)}/>" for f in fields)
    targets = [target] if classes else names
    yield from (f'<MiningField name={quoteattr(t)} usageType="target"/>' for t in targets)
    yield "</MiningSchema>"
    yield "<Output>"
    if classes:
        for c in classes:
            feature = f'feature="probability" value={quoteattr(c)}'
            name = quoteattr(f"probability({c})")
            yield f'<OutputField name={name} optype="continuous" dataType="double" {feature}/>'
    else:
        for n in names:
            feature = f'feature="predictedValue" targetField={quoteattr(n)}'
            name = quoteattr(f"predicted({n})")
            yield f'<OutputField name={name} optype="continuous" dataType="double" {feature}/>'
    yield "</Output>"
    yield from _inputs(arguments, steps)
    for number, layer in enumerate(layers, 1):
        yield from _layer(number, layer)
    yield f'<NeuralOutputs numberOfOutputs="{len(classes or names)}">'
    for place, name in enumerate(classes or names):
        meant = (
            f"<NormDiscrete field={quoteattr(target)} value={quoteattr(name)}/>"
            if classes
            else f"<FieldRef field={quoteattr(name)}/>"
        )
        kind = 'optype="categorical" dataType="string"' if classes else 'optype="continuous" dataType="double"'
        yield (
            f'<NeuralOutput outputNeuron="{len(layers)},{place}"><DerivedField {kind}>{meant}</DerivedField>'
            "</NeuralOutput>"
        )
    yield "</NeuralOutputs></NeuralNetwork></PMML>"


def _inputs(arguments: dict[str, Any], steps: Sequence[Step]) -> Iterator[str]:
    """Raw fields, prepared as the model takes them."""
    order, channels = arguments["order"], arguments["channels"]
    yield f'<NeuralInputs numberOfInputs="{len(order)}">'
    for place, source in enumerate(order):
        made = f"<FieldRef field={quoteattr(arguments['fields'][source])}/>"
        for step in steps:
            operand = step.operands[channels[place] if len(step.operands) > 1 else 0]
            constant = f'<Constant dataType="double">{float(operand)!r}</Constant>'
            made = f'<Apply function="{step.operator}">{made}{constant}</Apply>'
        field = f'<DerivedField optype="continuous" dataType="double">{made}</DerivedField>'
        yield f'<NeuralInput id="0,{place}">{field}</NeuralInput>'
    yield "</NeuralInputs>"


def _layer(number: int, layer: Dense) -> Iterator[str]:
    softmax = layer.activation == "softmax"
    how = 'activationFunction="identity" normalizationMethod="softmax"'
    if not softmax:
        how = f'activationFunction="{layer.activation}"'
    yield f'<NeuralLayer numberOfNeurons="{len(layer.bias)}" {how}>'
    before = number - 1
    for unit, bias in enumerate(layer.bias.tolist()):
        weights = layer.weights[:, unit].tolist()
        arcs = "".join(f'<Con from="{before},{k}" weight="{w!r}"/>' for k, w in enumerate(weights))
        yield f'<Neuron id="{number},{unit}" bias="{bias!r}">{arcs}</Neuron>'
    yield "</NeuralLayer>"
