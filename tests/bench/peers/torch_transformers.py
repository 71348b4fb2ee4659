"""A token classifier and a ViT, trained by PyTorch in its own environment: ``torch_transformers.py DATA FOLDER NAME``.

Writes ``tokens.onnx`` or ``vit.onnx``, with its test data beside it: the inputs by name, and ``y``.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import transformers

VOCABULARY, TAGS, LONGEST = 500, 5, 64


def sentences(count, seed):
    """Tokens, masks and tags: a tag depends on the token, and on whether a marker stands before it."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(8, LONGEST + 1, count)
    mask = (np.arange(LONGEST) < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1, VOCABULARY, (count, LONGEST)) * mask
    marked = np.pad(ids[:, :-1] % 7 == 0, ((0, 0), (1, 0)))
    tags = np.where(marked, 1 + ids % (TAGS - 1), 0)
    return ids, mask, np.where(mask == 1, tags, -100)


def train(model, batches, rate):
    """Adam over batches of keyword arguments."""
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    model.train()
    for batch in batches:
        optimizer.zero_grad()
        model(**batch).loss.backward()
        optimizer.step()
    return model.eval()


class Logits(torch.nn.Module):
    """Only the logits, by position."""

    def __init__(self, model, names):
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs):
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


def export(model, inputs, path, axes):
    """An ONNX file by the exporter that most files in use come from."""
    names = list(inputs)
    with torch.no_grad():
        torch.onnx.export(
            Logits(model, names), tuple(inputs.values()), str(path), input_names=names, output_names=["logits"],
            dynamic_axes={**dict.fromkeys(names, axes), "logits": axes}, opset_version=17, dynamo=False,
        )  # fmt: skip


def tokens(folder):
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        max_position_embeddings=256,
        num_labels=TAGS,
        attn_implementation="eager",
    )
    ids, mask, tags = (torch.from_numpy(a) for a in sentences(12_800, 0))
    model = transformers.BertForTokenClassification(config)
    chosen = (slice(i, i + 64) for i in range(0, 12_800, 64))
    batches = ({"input_ids": ids[s], "attention_mask": mask[s], "labels": tags[s]} for s in chosen)
    train(model, batches, 5e-4)
    export(model, {"input_ids": ids[:2], "attention_mask": mask[:2]}, folder / "tokens.onnx", {0: "batch", 1: "length"})
    ids, mask, tags = sentences(1000, 1)
    np.savez(folder / "tokens.npz", input_ids=ids, attention_mask=mask, y=tags)


def vit(folder, data):
    config = transformers.ViTConfig(
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=1024,
        image_size=28,
        patch_size=4,
        num_channels=1,
        num_labels=10,
        attn_implementation="eager",
    )
    with np.load(data) as file:
        x, y = (torch.from_numpy(file[name]) for name in ("x_train", "y_train"))
        test, labels = file["x_test"][:2000], file["y_test"][:2000]
    x = (x.float() / 255)[:, None]
    model = transformers.ViTForImageClassification(config)
    chosen = (torch.randint(len(x), (128,)) for _ in range(300))
    train(model, ({"pixel_values": x[s], "labels": y[s].long()} for s in chosen), 5e-4)
    export(model, {"pixel_values": x[:2]}, folder / "vit.onnx", {0: "batch"})
    np.savez(folder / "vit.npz", pixel_values=(test.astype(np.float32) / 255)[:, None], y=labels.astype(np.int64))


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(2)
    place = Path(sys.argv[2])
    if sys.argv[3] == "tokens":
        tokens(place)
    else:
        vit(place, sys.argv[1])
