"""Prunes with PyTorch: WEIGHTS.npz EXAMPLES.npy → channels that torch-pruning removes, outputs, and masks as JSON.

The architecture is that of the names in the file; see `tests/proof/test_pruning.py`.
"""

import importlib.metadata
import json
import sys

import numpy as np
import torch
import torch_pruning
from torch import nn
from torch.nn.utils import prune

weights = {name: torch.from_numpy(value) for name, value in np.load(sys.argv[1]).items()}
family = next(name.partition(":")[0] for name in weights)
weights = {name.partition(":")[2]: value for name, value in weights.items()}
x = torch.from_numpy(np.load(sys.argv[2]))
MAKES = {torch_pruning.prune_conv_out_channels, torch_pruning.prune_linear_out_channels}


def conv(name, **options):
    w = weights[name]
    groups = options.pop("groups", 1)
    made = nn.Conv2d(w.shape[1] * groups, w.shape[0], w.shape[2:], bias=False, groups=groups, **options)
    made.weight.data = w.clone()
    return made


def linear(name):
    w = weights[name]
    made = nn.Linear(*w.shape, bias=False)
    made.weight.data = w.T.contiguous()
    return made


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w1, self.w2, self.w4 = conv("w1", padding=1), None, linear("w4")
        self.w3 = conv("w3", padding=1)
        if family == "residual":
            self.w2 = conv("w2", padding=1)
            self.norm = nn.BatchNorm2d(8)
            for name, part in (("g", "weight"), ("h", "bias"), ("m", "running_mean"), ("v", "running_var")):
                getattr(self.norm, part).data = weights[name].clone()
        elif family == "depthwise":
            self.w2 = conv("w2", padding=1, groups=8)
        elif family == "concatenated":
            self.w2 = conv("w2", padding=1)

    def forward(self, x):
        a = torch.relu(self.w1(x))
        if family == "residual":
            a = torch.relu(self.norm(self.w2(a)) + a)
        elif family == "depthwise":
            a = torch.relu(self.w2(a))
        elif family == "concatenated":
            a = torch.cat([a, torch.relu(self.w2(x))], 1)
        return self.w4(torch.flatten(torch.relu(self.w3(a)), 1))


def cut(power):
    """Channels that are removed, by layer, and what the smaller model answers."""
    model = Net().eval()
    graph = torch_pruning.DependencyGraph().build_dependency(model, example_inputs=x[:1])
    magnitude = torch_pruning.importance.GroupMagnitudeImportance(power, "sum", None, bias=False)
    names = {module: name for name, module in model.named_modules()}
    found, chosen = {}, []
    for group in list(graph.get_all_groups(ignored_layers=[model.w4])):
        filters = torch_pruning.dependency.Group()  # what makes the channels, and not what reads them
        filters._group = [item for item in group._group if item.dep.pruning_fn in MAKES]
        scores = magnitude(filters)
        order = torch.argsort(scores)[: len(scores) // 2].tolist()
        chosen.append((group[0].dep.target.module, group[0].dep.handler, order))
        for dep, _ in filters:
            found[names[dep.target.module]] = sorted(order)
    for module, handler, order in chosen:
        graph.get_pruning_group(module, handler, order).prune()
    with torch.no_grad():
        return {"gone": found, "outputs": model(x).tolist()}


def masks(scope):
    """Which weights stay when half of them are removed, by layer."""
    model = Net().eval()
    parts = [(m, "weight") for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if scope == "global":
        prune.global_unstructured(parts, pruning_method=prune.L1Unstructured, amount=0.5)
    else:
        for module, name in parts:
            prune.l1_unstructured(module, name, amount=0.5)
    found = {name: m.weight_mask for name, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    return {name: (m.T if m.ndim == 2 else m).int().tolist() for name, m in found.items()}


with torch.no_grad():
    plain = Net().eval()(x).tolist()
print(
    json.dumps(
        {
            "given": plain,
            "cut": {power: cut(power) for power in (1, 2)},
            "masks": {scope: masks(scope) for scope in ("layer", "global")},
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "torch-pruning")},
        }
    )
)
