"""Small ONNX graphs with the ways in which channels run through a network, as text of the ONNX parser."""

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, parser

#: What follows queries, keys and values: attention, and a network of two layers.
_ATTENDED = """
s = MatMul(q, k)
p = Softmax<axis=-1>(s)
o = MatMul(p, v)
o1 = Transpose<perm=[0,2,1,3]>(o)
o2 = Reshape(o1, whole)
z = MatMul(o2, wo)
r = Add(x, z)
m = MatMul(r, w1)
n = Erf(m)
w = MatMul(n, w2)
y = Add(r, w)
"""
#: What comes before: queries, keys and values of heads.
_HEADS = """
q0 = MatMul(x, wq)
q1 = Add(q0, bq)
q2 = Reshape(q1, heads)
q = Transpose<perm=[0,2,1,3]>(q2)
k0 = MatMul(x, wk)
k2 = Reshape(k0, heads)
k = Transpose<perm=[0,2,3,1]>(k2)
v0 = MatMul(x, wv)
v2 = Reshape(v0, heads)
v = Transpose<perm=[0,2,1,3]>(v2)
"""
_ATTENTION = {
    "wq": (16, 16), "wk": (16, 16), "wv": (16, 16), "bq": (16,), "wo": (16, 16), "w1": (16, 24), "w2": (24, 16)
}  # fmt: skip
#: Name → shape of the input without the batch (None: free), weights by name with their shapes, and nodes.
GRAPHS = {
    "chain": (
        (3, 8, 8),
        {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (6, 8, 3, 3), "w3": (6, 4), "b3": (4,)},
        """
        a = Conv<pads=[1,1,1,1]>(x, w1, b1)
        b = Relu(a)
        c = Conv<strides=[2,2]>(b, w2)
        d = GlobalAveragePool(c)
        e = Flatten(d)
        y = Gemm(e, w3, b3)
        """,
    ),
    "residual": (
        (3, 8, 8),
        {
            "w1": (8, 3, 3, 3), "g": (8,), "h": (8,), "m": (8,), "v": (8,),
            "w2": (8, 8, 3, 3), "b2": (8,), "w3": (8 * 64, 5),
        },
        """
        a = Conv<pads=[1,1,1,1]>(x, w1)
        n = BatchNormalization(a, g, h, m, v)
        b = Relu(n)
        c = Conv<pads=[1,1,1,1]>(b, w2, b2)
        d = Add(b, c)
        e = Relu(d)
        f = Flatten(e)
        y = MatMul(f, w3)
        """,
    ),
    "concat": (
        (3, 8, 8),
        {"w1": (6, 3, 1, 1), "w2": (8, 3, 3, 3), "w3": (10, 14, 1, 1), "w4": (5, 6, 1, 1)},
        """
        a = Conv(x, w1)
        b = Conv<pads=[1,1,1,1]>(x, w2)
        c = Concat<axis=1>(a, b)
        d = Conv(c, w3)
        p, q = Split<axis=1>(d, sizes)
        r = Conv(p, w4)
        s = GlobalMaxPool(r)
        t = GlobalAveragePool(q)
        u = ReduceMean<axes=[2,3], keepdims=0>(s)
        k = ReduceSum(t)
        y = Add(u, k)
        """,
    ),
    "depthwise": (
        (3, 8, 8),
        {
            "w1": (8, 3, 1, 1), "w2": (16, 1, 3, 3), "b2": (16,), "w3": (4, 16, 1, 1), "w4": (16, 4, 1, 1),
            "w5": (8, 16, 1, 1), "w6": (3, 8, 1, 1),
        },
        """
        a = Conv(x, w1)
        b = Conv<group=8, pads=[1,1,1,1]>(a, w2, b2)
        c = Sigmoid(b)
        p = GlobalAveragePool(c)
        q = Conv(p, w3)
        r = Relu(q)
        s = Conv(r, w4)
        t = Mul(c, s)
        u = Conv(t, w5)
        v = Add(u, a)
        y = Conv(v, w6)
        """,
    ),
    "grouped": (
        (4, 8, 8),
        {"w1": (8, 4, 1, 1), "w2": (12, 2, 3, 3), "w3": (5, 12, 1, 1)},
        """
        a = Conv(x, w1)
        b = Tanh(a)
        c = Conv<group=4, pads=[1,1,1,1]>(b, w2)
        y = Conv(c, w3)
        """,
    ),
    "transposed": (
        (3, 4, 4),
        {"w1": (8, 3, 1, 1), "w2": (8, 6, 2, 2), "b2": (6,), "w3": (2, 6, 1, 1)},
        """
        a = Conv(x, w1)
        b = ConvTranspose<strides=[2,2]>(a, w2, b2)
        y = Conv(b, w3)
        """,
    ),
    "attention": ((6, 16), _ATTENTION, _HEADS + _ATTENDED),
    "attention_split": (
        (6, 16),
        {"wqkv": (16, 48), "bqkv": (48,), "wo": (16, 16), "w1": (16, 24), "w2": (24, 16)},
        """
        a0 = MatMul(x, wqkv)
        a1 = Add(a0, bqkv)
        a2 = Reshape(a1, three)
        a = Transpose<perm=[2,0,3,1,4]>(a2)
        q0, k0, v0 = Split<axis=0>(a, ones)
        q = Squeeze(q0, first)
        k1 = Squeeze(k0, first)
        v = Squeeze(v0, first)
        k = Transpose<perm=[0,1,3,2]>(k1)
        """
        + _ATTENDED,
    ),
    "attention_sliced": (
        (6, 16),
        {"wqkv": (16, 48), "bqkv": (48,), "wo": (16, 16), "w1": (16, 24), "w2": (24, 16)},
        """
        a0 = MatMul(x, wqkv)
        a1 = Add(a0, bqkv)
        a2 = Reshape(a1, three)
        a = Transpose<perm=[2,0,3,1,4]>(a2)
        q0 = Slice(a, first, one, first)
        k0 = Slice(a, one, two, first)
        v0 = Slice(a, two, last, first)
        q = Squeeze(q0, first)
        k1 = Squeeze(k0, first)
        v = Squeeze(v0, first)
        k = Transpose<perm=[0,1,3,2]>(k1)
        """
        + _ATTENDED,
    ),
    "attention_of_any_length": (  # as PyTorch writes it by tracing: each size on its own, width from the shape as well
        (None, 16),
        _ATTENTION,
        """
        sn = Shape(x)
        n0 = Gather(sn, place0)
        n1 = Gather(sn, place1)
        n2 = Gather(sn, place2)
        u0 = Unsqueeze(n0, first)
        u1 = Unsqueeze(n1, first)
        u2 = Unsqueeze(n2, first)
        heads = Concat<axis=0>(u0, u1, four, four)
        whole = Concat<axis=0>(u0, u1, u2)
        """
        + _HEADS
        + _ATTENDED,
    ),
    "attention_of_what_is_left": (  # as Hugging Face's models do: all sizes but the last, and two more
        (None, 16),
        _ATTENTION,
        """
        sn = Shape(q1)
        n0 = Slice(sn, first, last1)
        heads = Concat<axis=0>(n0, four, four)
        sm = Shape(o1)
        m0 = Slice(sm, first, last2)
        whole = Concat<axis=0>(m0, width)
        """
        + _HEADS
        + _ATTENDED,
    ),
    "attention_of_parts": (  # as PyTorch writes exported programs
        (None, 16),
        _ATTENTION,
        """
        n0 = Shape<start=0, end=1>(x)
        n1 = Shape<start=1, end=2>(x)
        heads = Concat<axis=0>(n0, n1, four, four)
        whole = Concat<axis=0>(n0, n1, width)
        """
        + _HEADS
        + _ATTENDED,
    ),
    "channels_last": (
        (6, 8),
        {"w1": (8, 12), "w2": (12, 4)},
        """
        a = MatMul(x, w1)
        b = Relu(a)
        m = GlobalAveragePool(b)
        c = Sub(b, m)
        y = MatMul(c, w2)
        """,
    ),
    "flattened": (
        (3, 4, 4),
        {"w1": (8, 3, 3, 3), "w2": (128, 10), "w3": (10, 3)},
        """
        a = Conv<pads=[1,1,1,1]>(x, w1)
        t = Transpose<perm=[0,2,3,1]>(a)
        n = Shape(t)
        i = Gather(n, first)
        j = Concat<axis=0>(i, rest)
        f = Reshape(t, j)
        g = MatMul(f, w2)
        h = LeakyRelu(g)
        y = MatMul(h, w3)
        """,
    ),
}  # fmt: skip
#: Those that have channels to remove: a mean over channels would change.
CUT = tuple(name for name in GRAPHS if name != "channels_last")
_NUMBERS = {
    "sizes": [6, 4], "heads": [0, 0, 4, 4], "whole": [0, 0, 16], "first": [0], "rest": [-1],
    "three": [0, 0, 3, 4, 4], "ones": [1, 1, 1], "one": [1], "two": [2], "last": [3], "four": [4], "width": [16],
    "last1": [-1], "last2": [-2], "place0": 0, "place1": 1, "place2": 2,
}  # fmt: skip


def graph(name):
    """One of the graphs with seeded random weights."""
    shape, weights, nodes = GRAPHS[name]
    dims = ", ".join("s" if size is None else str(size) for size in shape)
    lines = "\n".join(_sorted([line.strip() for line in nodes.strip().splitlines() if line.strip()], ["x", *weights]))
    model = parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> {name} (float[n, {dims}] x) => (float y) {{ {lines} }}'
    )
    rng = np.random.default_rng(len(name))
    for key, size in weights.items():
        values = rng.normal(0.0, 0.5, size).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(np.abs(values) + 0.5 if key == "v" else values, key))
    made = {output for node in model.graph.node for output in node.output}
    for key, numbers in _NUMBERS.items():
        if key not in made and any(key in node.input for node in model.graph.node):
            model.graph.initializer.append(numpy_helper.from_array(np.array(numbers, np.int64), key))
    for node in model.graph.node:
        node.name = f"layer_{node.output[0]}"
    sizes = ["s" if None in shape and k == 1 else size for k, size in enumerate(run(model, examples(name, 2)).shape)]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", *sizes[1:]]))
    onnx.checker.check_model(model)
    return model


def _sorted(lines, known):
    """Nodes in an order in which each reads what is there."""
    found, known = [], {*known, *_NUMBERS} - {line.split(" = ")[0] for line in lines}
    while lines:
        line = next(one for one in lines if set(one.partition("(")[2].rstrip(")").split(", ")) <= known)
        found.append(line)
        known |= set(line.split(" = ")[0].split(", "))
        lines = [one for one in lines if one is not line]
    return found


def examples(name, count=5, length=6):
    """Seeded random inputs; ``length`` where one is free."""
    return np.random.default_rng(7).normal(0.0, 1.0, (count, *shape_of(name, length))).astype(np.float32)


def shape_of(name, length=6):
    """Shape of one input; ``length`` where it is free."""
    return tuple(length if size is None else size for size in GRAPHS[name][0])


def run(model, x):
    """What ONNX Runtime computes."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})[0]


def weights(model):
    """The initializers by name."""
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
