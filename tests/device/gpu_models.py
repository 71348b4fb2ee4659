"""What `gpu.py` measures: the tutorials' CNN with its weights, and an encoder of MiniLM's size with random ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deploykit.readers.protobuf import fields, text

ROOT = Path(__file__).parents[2]
CNN_FILE = ROOT / "notebooks" / "models" / "fashion_cnn.onnx"
DATA_FILE = ROOT / "notebooks" / "data" / "fashion-mnist.npz"
#: Numbers of the fields of ONNX's messages.
_GRAPH, _INITIALIZER, _DIMS, _NAME, _RAW = 7, 5, 1, 8, 9
#: MiniLM-L6: vocabulary, width, layers, heads, inner width, tokens.
VOCABULARY, WIDTH, LAYERS, HEADS, INNER, TOKENS = 30522, 384, 6, 12, 1536, 128


def onnx_weights(path: Path) -> dict[str, np.ndarray]:
    """Float tensors of an ONNX file by the layer in their names, read without the package ``onnx``."""
    (graph,) = (value for number, _, value in fields(memoryview(path.read_bytes())) if number == _GRAPH)
    found = {}
    for number, _, tensor in fields(graph):
        if number != _INITIALIZER:
            continue
        parts = [(n, value) for n, _, value in fields(tensor)]
        dims = [value for n, value in parts if n == _DIMS and isinstance(value, int)]
        name = next(text(value) for n, value in parts if n == _NAME)
        raw = next((bytes(value) for n, value in parts if n == _RAW), b"")
        if len(raw) == 4 * int(np.prod(dims)) and "fashion_cnn" in name:
            found[name.split("fashion_cnn_1/")[1]] = np.frombuffer(raw, np.float32).reshape(dims).copy()
    return found


class Cnn(nn.Module):
    """The CNN of the tutorials: (batch, 28, 28, 1) → ten probabilities; normalization is folded as in the file."""

    def __init__(self) -> None:
        super().__init__()
        weights = {name: torch.from_numpy(array) for name, array in onnx_weights(CNN_FILE).items()}
        self.convolutions = nn.ModuleList()
        for number in range(3):
            weight = weights[f"conv_{number}_1/convolution/merged_input:0"]
            layer = nn.Conv2d(weight.shape[1], weight.shape[0], 3, padding=1)
            layer.weight.data, layer.bias.data = weight, weights[f"norm_{number}_1/batchnorm/sub:0"]
            self.convolutions.append(layer)
        self.dense, self.classes = self._linear(weights, "dense_1"), self._linear(weights, "class_1")

    @staticmethod
    def _linear(weights: dict[str, torch.Tensor], name: str) -> nn.Linear:
        weight = weights[f"{name}/Cast/ReadVariableOp:0"]
        layer = nn.Linear(*weight.shape)
        layer.weight.data, layer.bias.data = weight.T.contiguous(), weights[f"{name}/BiasAdd/ReadVariableOp:0"]
        return layer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Ten probabilities."""
        x = image.permute(0, 3, 1, 2)
        for layer in self.convolutions:
            x = nn.functional.max_pool2d(torch.relu(layer(x)), 2)
        x = torch.relu(self.dense(x.permute(0, 2, 3, 1).flatten(1)))
        return torch.softmax(self.classes(x).float(), -1)


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mixed, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = self.mixed(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(heads[0], heads[1], heads[2])
        x = self.first(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.second(x + self.down(nn.functional.gelu(self.up(x))))


class Encoder(nn.Module):
    """An encoder of MiniLM-L6's size: tokens (batch, 128) → one vector of length one, of the mean over the tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(TOKENS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors of length one, (batch, 384)."""
        x = self.norm(self.words(tokens) + self.places.weight[: tokens.shape[1]])
        for layer in self.layers:
            x = layer(x)
        return nn.functional.normalize(x.mean(1).float(), dim=-1)


def made(name: str) -> nn.Module:
    """A model by its name, in evaluation mode."""
    torch.manual_seed(0)
    return {"cnn": Cnn, "encoder": Encoder}[name]().eval().requires_grad_(False)


def examples(name: str, count: int) -> np.ndarray:
    """Examples of a model: the tutorials' images, or seeded tokens."""
    if name == "encoder":
        return np.random.default_rng(0).integers(0, VOCABULARY, (count, TOKENS))
    with np.load(DATA_FILE) as data:
        images = data[next(n for n in data.files if n.startswith("x"))][:count]
    return (images.reshape(-1, 28, 28, 1) / 255).astype(np.float32)


def onnx_file(name: str, folder: Path) -> Path | str:
    """The model as an ONNX file; or why there is none."""
    if name == "cnn":
        return CNN_FILE
    try:
        import onnxscript  # noqa: F401  PyTorch's exporter needs it
    except ImportError:
        return "onnxscript is not installed, so the encoder has no ONNX file"
    path = folder / f"{name}.onnx"
    batch = torch.export.Dim("batch", min=1, max=4096)
    given: Any = torch.from_numpy(examples(name, 2))
    torch.onnx.export(
        made(name), (given,), str(path), dynamo=True, dynamic_shapes=({0: batch},), verbose=False, external_data=False
    )
    return path
