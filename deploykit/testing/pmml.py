"""Writes a neural network as PMML by hand, with what other tools write and deploykit does not."""

from __future__ import annotations

from pathlib import Path

#: Fields scaled in two ways, a hidden layer that the output reads beside the inputs, and a target on its own scale.
TEXT = """<?xml version="1.0"?>
<p:PMML xmlns:p="http://www.dmg.org/PMML-4_4" version="4.4">
<p:Header/>
<p:DataDictionary><p:DataField name="a" optype="continuous" dataType="double"/></p:DataDictionary>
<p:NeuralNetwork functionName="regression" activationFunction="tanh">
<p:MiningSchema><p:MiningField name="y" usageType="target"/>
<p:MiningField name="a"/><p:MiningField name="b" missingValueReplacement="0"/><p:MiningField name="c"/></p:MiningSchema>
<p:LocalTransformations><p:DerivedField name="half" optype="continuous" dataType="double">
<p:Apply function="/"><p:FieldRef field="c"/>
<p:Constant>2</p:Constant></p:Apply></p:DerivedField></p:LocalTransformations>
<p:NeuralInputs>
<p:NeuralInput id="i0"><p:DerivedField><p:FieldRef field="half"/></p:DerivedField></p:NeuralInput>
<p:NeuralInput id="i1"><p:DerivedField><p:NormContinuous field="a">
<p:LinearNorm orig="1" norm="0"/><p:LinearNorm orig="3" norm="1"/></p:NormContinuous></p:DerivedField></p:NeuralInput>
<p:NeuralInput id="i2"><p:DerivedField><p:FieldRef field="b"/></p:DerivedField></p:NeuralInput>
</p:NeuralInputs>
<p:NeuralLayer numberOfNeurons="2">
<p:Neuron id="h0" bias="0.5"><p:Con from="i0" weight="1"/><p:Con from="i1" weight="-2"/></p:Neuron>
<p:Neuron id="h1"><p:Con from="i2" weight="0.75"/></p:Neuron>
</p:NeuralLayer>
<p:NeuralLayer activationFunction="identity">
<p:Neuron id="o" bias="-1"><p:Con from="h1" weight="4"/>
<p:Con from="h0" weight="3"/><p:Con from="i1" weight="5"/></p:Neuron>
</p:NeuralLayer>
<p:NeuralOutputs><p:NeuralOutput outputNeuron="o"><p:DerivedField><p:NormContinuous field="y">
<p:LinearNorm orig="10" norm="0"/>
<p:LinearNorm orig="20" norm="1"/></p:NormContinuous></p:DerivedField></p:NeuralOutput>
</p:NeuralOutputs></p:NeuralNetwork></p:PMML>
"""


def network(path: Path) -> None:
    """Write it: fields (batch, 3) → y (batch, 1)."""
    path.write_text(TEXT, "utf-8")
