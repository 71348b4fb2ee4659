"""Tasks that make programs of PyTorch, and answer with PyTorch alone."""

import sys


def save(arguments, report):
    """Save the network called ``name`` at ``path``, with a free batch."""
    import torch
    from torch import nn

    class Separable(nn.Module):
        """Depthwise and pointwise convolutions with normalization, added to what went in."""

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(1, 8, 3, padding="same", bias=False)
            self.deep, self.deep_norm = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
            self.wide, self.wide_norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
            self.head = nn.Linear(8, 3)

        def forward(self, image):
            x = torch.relu(self.stem(image))
            y = nn.functional.relu6(self.deep_norm(self.deep(x)))
            x += self.wide_norm(self.wide(y))
            torch.relu_(x)  # in place, as networks for images have it
            return self.head(torch.flatten(nn.functional.adaptive_avg_pool2d(x, 1), 1))

    class Block(nn.Module):
        """A block of a transformer: attention leaves transposed values to a linear layer."""

        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu", norm_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, image):
            return self.head(self.layer(image).mean(1))

    class Without(nn.Module):
        """Weights, but none that is quantized."""

        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(1, 3, 2, stride=2)

        def forward(self, image):
            return self.up(image).mean((2, 3))

    class Infinite(nn.Module):
        """A linear layer reads infinity."""

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(64, 3)

        def forward(self, image):
            return self.head(1 / torch.flatten(image * 0, 1))

    networks = {"infinite": (Infinite, (1, 8, 8)), "separable": (Separable, (1, 8, 8)), "block": (Block, (6, 16)),
                "without": (Without, (1, 8, 8))}  # fmt: skip
    torch.manual_seed(0)
    network, shape = networks[arguments["name"]]
    module = network().eval()
    with torch.no_grad():
        for name, value in module.named_buffers():
            if name.endswith("running_var"):
                value.uniform_(0.05, 0.15)
            elif name.endswith("running_mean"):
                value.uniform_(-0.1, 0.1)
    if arguments.get("half"):
        module.half()
    example = (torch.rand((2, *shape), dtype=torch.float16 if arguments.get("half") else torch.float32),)
    program = torch.export.export(module, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, arguments["path"])
    return {}


def answers(arguments, report):
    """Answers of the program at ``path`` to ``given.npy``, by PyTorch alone; and whether it took torchao."""
    import numpy as np
    import torch
    import torch.ao.quantization.fx._decomposed

    program = torch.export.load(arguments["path"])
    with torch.no_grad():
        found = program.module()(torch.from_numpy(np.load(arguments["given"])))
    return {"answers": next(iter(found.values())).tolist(), "torchao": "torchao" in sys.modules}
