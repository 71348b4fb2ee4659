"""Tiny models of PyTorch, with the shapes of those in `deploykit.testing.models`."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def torch_cnn() -> Any:
    """A CNN, channels first: image (batch, 1, 8, 8) → convolutions, normalization, pool, linear → three scores."""
    import torch
    from torch import nn

    class Network(nn.Module):  # type: ignore[misc]  # mypy does not look into PyTorch
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(8)
            self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.score = nn.Linear(8, 3)

        def forward(self, image: Any) -> Any:
            x = torch.relu(self.norm(self.conv(image)))
            x = x + self.depthwise(x)
            return torch.softmax(self.score(x.mean((2, 3))), -1)

    return _randomized(Network())


def torch_channels_last() -> Any:
    """The CNN for images with channels last: image (batch, 8, 8, 1) → three scores."""
    from torch import nn

    class Network(nn.Module):  # type: ignore[misc]  # mypy does not look into PyTorch
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch_cnn()

        def forward(self, image: Any) -> Any:
            return self.inner(image.permute(0, 3, 1, 2))

    return Network().eval()


def torch_two_inputs() -> Any:
    """Two inputs, left (batch, 4) float32 and right (batch, 6) int64, and a dict of two outputs, score and label."""
    import torch
    from torch import nn

    class Network(nn.Module):  # type: ignore[misc]  # mypy does not look into PyTorch
        def __init__(self) -> None:
            super().__init__()
            self.score, self.label = nn.Linear(10, 1), nn.Linear(10, 3)

        def forward(self, left: Any, right: Any) -> Any:
            both = torch.cat([left, right.float()], dim=1)
            return {"score": self.score(both), "label": torch.softmax(self.label(both), -1)}

    return _randomized(Network())


def _randomized(module: Any) -> Any:
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in [*module.named_parameters(), *module.named_buffers()]:
            if weight.is_floating_point():
                values = torch.randn(weight.shape, generator=generator) * 0.6
                weight.copy_(values.abs() + 0.5 if name.endswith("var") else values)
    return module.eval()


def example_of(module: Any) -> tuple[Any, ...]:
    """Two seeded examples of what a tiny model takes."""
    import torch

    generator = torch.Generator().manual_seed(0)
    if hasattr(module, "inner"):
        return (torch.rand((2, 8, 8, 1), generator=generator),)
    if hasattr(module, "conv"):
        return (torch.rand((2, 1, 8, 8), generator=generator),)
    return torch.rand((2, 4), generator=generator), torch.randint(0, 5, (2, 6), generator=generator)


def save_program(module: Any, path: Path) -> None:
    """Write a tiny model as an exported program with a free batch."""
    import torch

    example = example_of(module)
    batch = torch.export.Dim("batch")
    program = torch.export.export(module, example, dynamic_shapes=tuple({0: batch} for _ in example))
    torch.export.save(program, str(path))


def save_script(module: Any, path: Path) -> None:
    """Write a tiny model as TorchScript that was traced."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.trace(module, example_of(module), strict=False).save(str(path))
