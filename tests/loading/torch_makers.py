"""Tasks that make files of PyTorch, or load its live modules, in a child process."""

import os
from collections import OrderedDict
from pathlib import Path

import deploykit as dk
from deploykit.core import errors
from deploykit.core.errors import DeploykitError


class Marks:
    """Unpickling it leaves a mark."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (Path(self.mark),))


def pickled(arguments, report):
    """A state dict, a whole module, an old checkpoint, and one that leaves a mark."""
    import torch

    from deploykit.testing.torch_models import torch_cnn

    folder, module = Path(arguments["folder"]), torch_cnn()
    torch.save(module.state_dict(), folder / "state.pt")
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)), folder / "whole.pth")
    torch.save(module.state_dict(), folder / "old.pt", _use_new_zipfile_serialization=False)
    torch.save({"model": Marks(arguments["mark"])}, folder / "hostile.pt")
    return {}


def script(arguments, report):
    """TorchScript that would write a file as soon as it runs."""
    import warnings

    import torch

    class Writes(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            torch.save(x, "mark")
            return x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Writes()).save(arguments["path"])
    return {}


def live(arguments, report):
    """Load a live module in several ways: models, or the error."""
    import numpy as np
    import torch

    from deploykit.testing.torch_models import torch_cnn, torch_two_inputs

    os.environ["DEPLOYKIT_CACHE"] = arguments["cache"]
    rng = np.random.default_rng(0)
    image = rng.random((1, 1, 8, 8)).astype(np.float32)
    left, right = rng.random((2, 4)).astype(np.float32), rng.integers(0, 5, (2, 6))
    module = torch_cnn().train()

    class Picky(torch.nn.Module):
        def forward(self, x):
            return x * 2 if float(x.sum()) > 0 else x

    class Answers(OrderedDict):
        """As Transformers give them."""

    class Named(torch.nn.Module):
        def forward(self, x):
            return Answers(logits=x * 2, hidden=x + 1)

    given = {
        "named": lambda: [dk.load(Named(), example=left)],
        "image": lambda: [dk.load(module, example=e) for e in (image, torch.from_numpy(image + 1))],
        "two": lambda: [
            dk.load(torch_two_inputs(), example=e) for e in ((left, right), {"left": left, "right": right})
        ],
        "none": lambda: dk.load(module),
        "text": lambda: dk.load(module, example=(image, "x")),
        "shape": lambda: dk.load(module, example=image[:, :, :, 0]),
        "picky": lambda: dk.load(Picky(), example=left),
        "keras": lambda: dk.load(b"\x1c\0\0\0TFL3", example=left),
    }
    try:
        models = given[arguments["kind"]]()
    except DeploykitError as error:
        return {"error": errors.to_json(error)}
    kept = all(part.training for part in module.modules())
    with torch.no_grad():
        wanted = module.eval()(torch.from_numpy(image)).numpy().tolist()
    return {"models": [m.to_json() for m in models], "image": image.tolist(), "wanted": wanted, "kept": kept}
