"""PyTorch's pruners choose the same channels and weights, on the same weights."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from deploykit.testing import work

#: Family → shapes of its weights, and its nodes; `foreign/torch_prune.py` has the same in PyTorch.
FAMILIES = {
    "chain": ({"w1": (8, 3, 3, 3), "w3": (6, 8, 3, 3)}, "a = Conv<pads=[1,1,1,1]>(x, w1) r = Relu(a)"),
    "residual": (
        {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "g": (8,), "h": (8,), "m": (8,), "v": (8,), "w3": (6, 8, 3, 3)},
        """a = Conv<pads=[1,1,1,1]>(x, w1) b = Relu(a) c = Conv<pads=[1,1,1,1]>(b, w2)
        n = BatchNormalization(c, g, h, m, v) s = Add(n, b) r = Relu(s)""",
    ),
    "depthwise": (
        {"w1": (8, 3, 3, 3), "w2": (8, 1, 3, 3), "w3": (6, 8, 3, 3)},
        """a = Conv<pads=[1,1,1,1]>(x, w1) b = Relu(a) c = Conv<group=8, pads=[1,1,1,1]>(b, w2) r = Relu(c)""",
    ),
    "concatenated": (
        {"w1": (8, 3, 3, 3), "w2": (10, 3, 3, 3), "w3": (6, 18, 3, 3)},
        """a = Conv<pads=[1,1,1,1]>(x, w1) b = Relu(a) c = Conv<pads=[1,1,1,1]>(x, w2) d = Relu(c)
        r = Concat<axis=1>(b, d)""",
    ),
}
REQUIREMENTS = ("torch==2.13.0", "torch-pruning==1.6.1")


@pytest.fixture(scope="session")
def foreign(packages, tmp_path_factory):
    """What PyTorch says of a family, with the model and its inputs."""
    folder = tmp_path_factory.mktemp("torch")
    run = packages(*REQUIREMENTS)
    found = {}
    for name, (shapes, nodes) in FAMILIES.items():
        rng = np.random.default_rng(len(name))
        weights = {key: rng.normal(0.0, 0.3, size).astype(np.float32) for key, size in shapes.items()}
        weights |= {"w4": rng.normal(0.0, 0.3, (6 * 64, 4)).astype(np.float32)}
        if "v" in weights:
            weights["v"] = np.abs(weights["v"]) + 0.5
        x = rng.normal(0.0, 1.0, (5, 3, 8, 8)).astype(np.float32)
        np.savez(folder / f"{name}.npz", **{f"{name}:{key}": value for key, value in weights.items()})
        np.save(folder / f"{name}.npy", x)
        model = onnx.parser.parse_model(
            f"""<ir_version: 8, opset_import: ["": 17]> net (float[n, 3, 8, 8] x) => (float[n, 4] y) {{
            {nodes} k = Conv<pads=[1,1,1,1]>(r, w3) l = Relu(k) f = Flatten(l) y = MatMul(f, w4) }}"""
        )
        model.graph.initializer.extend(numpy_helper.from_array(value, key) for key, value in weights.items())
        onnx.save(model, str(folder / f"{name}.onnx"))
        said = run("torch_prune.py", folder / f"{name}.npz", folder / f"{name}.npy")
        np.testing.assert_allclose(answers(folder / f"{name}.onnx", x), said["given"], rtol=1e-5, atol=1e-5)
        found[name] = folder / f"{name}.onnx", weights, x, said
    return found


def answers(path, x):
    return onnxruntime.InferenceSession(path.read_bytes()).run(None, {"x": x})[0]


def stored(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}


@pytest.mark.proof("prune_channels removes the channels that torch-pruning chooses (l1, l2)", against="torch-pruning")
@pytest.mark.parametrize("criterion", ["l1", "l2"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_channels_go(family, criterion, foreign, tmp_path, versions):
    path, weights, x, said = foreign[family]
    versions(**said["versions"])
    settings = {"criterion": criterion, "reconstruct": False, "multiple": 1}
    work.transformed("prune_channels", "onnx", path, tmp_path / "cut", None, **settings)
    theirs = said["cut"][criterion[1]]
    found = stored(tmp_path / "cut")
    assert theirs["gone"].keys() >= {"w1", "w3"}
    for name, gone in theirs["gone"].items():
        kept = np.delete(np.arange(len(weights[name])), gone)
        rows = {row.tobytes(): k for k, row in enumerate(weights["w1"])}
        if name == "w1":  # it reads the image, so that its filters are as they were
            assert [rows[row.tobytes()] for row in found[name]] == kept.tolist()
        assert len(found[name]) == len(kept)
    np.testing.assert_allclose(answers(tmp_path / "cut", x), theirs["outputs"], rtol=1e-5, atol=1e-5)


@pytest.mark.proof(
    "prune_magnitude prunes the weights that PyTorch's l1 pruning chooses", against="torch.nn.utils.prune"
)
@pytest.mark.parametrize("scope", ["layer", "global"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_weights_become_zero(family, scope, foreign, tmp_path, versions):
    path, _weights, _x, said = foreign[family]
    versions(torch=said["versions"]["torch"])
    settings = {"sparsity": 0.5, "scope": scope, "small_layers": True, "epochs": 0}
    work.transformed("prune_magnitude", "onnx", path, tmp_path / "sparse", None, **settings)
    found = stored(tmp_path / "sparse")
    for name, mask in said["masks"][scope].items():
        np.testing.assert_array_equal(found[name] != 0, np.array(mask, bool), err_msg=name)
