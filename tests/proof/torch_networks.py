"""Networks of PyTorch by the operators they need, each saved as a program by a task in a child."""

import torch
from torch import nn


class Residual(nn.Module):
    """ResNet's block, with groups and an average that is not global."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 7, stride=2, padding=3), nn.BatchNorm2d(16), nn.ReLU6())
        self.a, self.b = nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.Conv2d(16, 16, 3, padding=2, dilation=2)
        self.norm, self.head = nn.BatchNorm2d(16), nn.Linear(16 * 4, 5)

    def forward(self, image):
        x = nn.functional.max_pool2d(self.stem(image), 3, stride=2, padding=1)
        x = torch.relu(x + self.norm(self.b(nn.functional.silu(self.a(x)))))
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))


class Next(nn.Module):
    """ConvNeXt's block: depthwise 7 × 7, layer normalization over channels, GELU."""

    def __init__(self):
        super().__init__()
        self.patch, self.deep = nn.Conv2d(3, 24, 4, stride=4), nn.Conv2d(24, 24, 7, padding=3, groups=24)
        self.norm, self.up, self.down = nn.LayerNorm(24), nn.Linear(24, 96), nn.Linear(96, 24)
        self.scale, self.head = nn.Parameter(torch.full((24,), 0.5)), nn.Linear(24, 5)

    def forward(self, image):
        x = self.patch(image)
        y = self.down(nn.functional.gelu(self.up(self.norm(self.deep(x).permute(0, 2, 3, 1)))))
        return self.head((x + (self.scale * y).permute(0, 3, 1, 2)).mean((2, 3)))


class Segments(nn.Module):
    """U-Net's ladder: a transposed convolution, resizing and a concatenation."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.Conv2d(24, 4, 1)

    def forward(self, image):
        x = torch.relu(self.a(image))
        y = torch.relu(self.b(x))
        wide = nn.functional.interpolate(y[:, :8], scale_factor=2.0, mode="nearest")
        return self.out(torch.cat([x, self.up(y), wide], 1)).softmax(1)


class Encoder(nn.Module):
    """A transformer over tokens."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(50, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, activation="gelu", norm_first=True)
        self.layers, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(32, 5)

    def forward(self, tokens):
        return self.head(self.layers(self.table(tokens)).mean(1))


class Recurrent(nn.Module):
    """An LSTM and a GRU; ONNX has both, the way on to TensorFlow has neither."""

    def __init__(self):
        super().__init__()
        self.lstm, self.gru = nn.LSTM(6, 8, batch_first=True, bidirectional=True), nn.GRU(16, 8, batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, series):
        return self.head(self.gru(self.lstm(series)[0])[0][:, -1])


IMAGE, TOKENS, SERIES = (3, 32, 32), (12,), (10, 6)
NETWORKS = {"residual": (Residual, IMAGE), "next": (Next, IMAGE), "segments": (Segments, IMAGE),
            "encoder": (Encoder, TOKENS), "recurrent": (Recurrent, SERIES)}  # fmt: skip


def save(arguments, report):
    """Task: save the network called ``name`` at ``path``."""
    torch.manual_seed(0)
    network, shape = NETWORKS[arguments["name"]]
    module = network().eval()
    with torch.no_grad():
        for name, value in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                value.uniform_(0.5, 1.5)
    example = torch.randint(0, 50, (2, *shape)) if shape == TOKENS else torch.randn(2, *shape)
    batch = torch.export.Dim("batch")
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=({0: batch},)), arguments["path"])
    return {}
