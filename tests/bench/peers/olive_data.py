"""The digits as Olive takes them: a user script of its data configurations (see ``olive_run.py``)."""

import numpy as np
import torch
from olive.data.registry import Registry


class Digits(torch.utils.data.Dataset):
    """Pairs of inputs by name and the label."""

    def __init__(self, data, split, count):
        with np.load(data) as file:
            self.x, self.y = file[f"x_{split}"][:count], file[f"y_{split}"][:count]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"image": torch.from_numpy(self.x[index])}, int(self.y[index])


@Registry.register_dataset()
def digits(data, split, count, **_options):
    """A split of the digits."""
    return Digits(data, split, count)


@Registry.register_post_process()
def best_class(output, **_options):
    """The most probable class."""
    return output.argmax(-1)
