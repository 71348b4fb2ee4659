"""Tasks that make Keras models with signatures and layers of many kinds, and what bare Keras says they compute."""

import numpy as np

RNG = np.random.default_rng(0)
FEW = (RNG.normal(size=(6, 4)) * 3 + 50).astype("f4")
ONE, TWO, THREE = RNG.normal(size=(3, 6, 4)).astype("f4")
STEPS = RNG.normal(size=(6, 5, 3)).astype("f4")


def make(arguments, report):
    """Save the model ``kind`` at ``path``, with examples and outputs by the names they must have."""
    import keras

    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(1)
    model, feeds, run = globals()[arguments["kind"]](keras, keras.layers)
    for weight in model.weights:
        if weight.trainable and not weight.path.endswith("_fixed"):
            weight.assign(rng.normal(0.0, 0.5, weight.shape))
    outputs = run()
    model.save(arguments["path"])
    for name, found in (("inputs", feeds), ("outputs", {k: np.asarray(v) for k, v in outputs.items()})):
        np.savez(f"{arguments['path']}.{name}.npz", **found)
    return {"inputs": list(feeds), "outputs": list(outputs)}


def adapted(layers, data=FEW, **options):
    norm = layers.Normalization(**options)
    norm.adapt(data)
    return norm


def single(keras, layers):
    x = keras.Input((4,), name="x")
    model = keras.Model(x, layers.Dense(3, name="d")(x))
    return model, {"x": ONE}, lambda: {"d": model(ONE)}


def list_of_two(keras, layers):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    model = keras.Model([b, a], [layers.Dense(3, name="z")(a), layers.Dense(3, name="y")(b)])
    return model, {"b": ONE, "a": TWO}, lambda: dict(zip("zy", model([ONE, TWO]), strict=True))


def dictionaries(keras, layers):
    a, b = keras.Input((4,)), keras.Input((4,))
    model = keras.Model({"user": a, "item": b}, {"main": layers.Dense(3)(a), "aux": layers.Dense(3)(b)})

    def run():
        found = model({"item": TWO, "user": ONE})
        return {"main": found["main"], "aux": found["aux"]}

    return model, {"user": ONE, "item": TWO}, run


def nested_dictionaries(keras, layers):
    a, b, c = keras.Input((4,)), keras.Input((4,)), keras.Input((4,))
    dense = [layers.Dense(3) for _ in range(4)]
    model = keras.Model(
        {"x": {"q": a, "p": b}, "c": c}, {"o": [dense[0](a), dense[1](b)], "b": {"z": dense[2](c), "a": dense[3](c)}}
    )

    def run():
        found = model({"x": {"q": ONE, "p": TWO}, "c": THREE})
        return {"o_0": found["o"][0], "o_1": found["o"][1], "b_z": found["b"]["z"], "b_a": found["b"]["a"]}

    return model, {"x_q": ONE, "x_p": TWO, "c": THREE}, run


def shared_layer(keras, layers):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    dense = layers.Dense(3, name="d")
    model = keras.Model([a, b], [dense(a), dense(b)])
    return model, {"a": ONE, "b": TWO}, lambda: dict(zip(("d", "d_1"), model([ONE, TWO]), strict=True))


def passed_through(keras, layers):
    a = keras.Input((4,), name="a")
    model = keras.Model(a, [a, layers.Dense(3, name="d")(a)])
    return model, {"a": ONE}, lambda: dict(zip("ad", model(ONE), strict=True))


def one_tensor_twice(keras, layers):
    a = keras.Input((4,), name="a")
    out = layers.Dense(3, name="d")(a)
    model = keras.Model(a, [out, out])
    return model, {"a": ONE}, lambda: dict(zip(("d", "d_1"), model(ONE), strict=True))


def two_outputs_of_a_layer(keras, layers):
    a = keras.Input((5, 3), name="a")
    found = layers.GRU(4, return_state=True, return_sequences=True, name="r", unroll=True)(a)
    model = keras.Model(a, [found[1], found[0]])
    return model, {"a": STEPS}, lambda: dict(zip(("r", "r_1"), model(STEPS), strict=True))


def nested_with_two_outputs(keras, layers):
    a, b = keras.Input((4,)), keras.Input((4,), name="b")
    inner = keras.Model(a, {"p": layers.Dense(3)(a), "a": layers.Dense(3)(a)}, name="inner")
    found = inner(b)
    model = keras.Model(b, [found["p"], found["a"]])
    return model, {"b": ONE}, lambda: dict(zip(("inner", "inner_1"), model(ONE), strict=True))


def sequential_inside(keras, layers):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name="inner")
    b = keras.Input((4,), name="b")
    model = keras.Model(b, inner(b))
    return model, {"b": ONE}, lambda: {"inner": model(ONE)}


def refused_names(keras, layers):
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="_d"), adapted(layers)], name="block 1")
    a, b = keras.Input((4,), name="mein Eingang"), keras.Input((4,), name="_y")
    nest = keras.Model(b, layers.Dense(3, name="_d")(b), name="_nest")
    head = layers.Dense(2, name="größe")
    model = keras.Model(a, [nest(inner(adapted(layers, name="_n")(a))), head(a), head(inner(a))], name="my model")
    return model, {"mein Eingang": FEW}, lambda: dict(zip(("_nest", "größe", "größe_1"), model(FEW), strict=True))


def mixed_precision(keras, layers):
    a = keras.Input((4,), name="a")
    hidden = layers.Dense(8, activation="relu", dtype=keras.DTypePolicy("mixed_float16"))(adapted(layers)(a))
    model = keras.Model(a, layers.Dense(3, activation="softmax", dtype="float32", name="d")(hidden))
    return model, {"a": FEW}, lambda: {"d": model(FEW)}


def discretized(keras, layers):
    a = keras.Input((4,), name="a")
    bins = layers.Discretization(num_bins=4, name="_bins")
    bins.adapt(FEW)
    model = keras.Model(a, [bins(a), layers.Dense(3, name="_d")(layers.Flatten()(layers.Embedding(5, 2)(bins(a))))])
    return model, {"a": FEW}, lambda: dict(zip(("_bins", "_d"), model(FEW), strict=True))


def looked_up(keras, layers):
    a = keras.Input((1,), name="a", dtype="string")
    words = layers.TextVectorization(output_sequence_length=4, name="words")
    words.adapt(["red car", "blue car", "red sky"])
    model = keras.Model(a, layers.Dense(3, name="_d")(layers.Flatten()(layers.Embedding(7, 3)(words(a)))))
    given = np.array([["red"], ["blue sky"], ["a car"]])
    return model, {"a": given}, lambda: {"_d": model(keras.ops.convert_to_tensor(given))}


def other_types(keras, layers):
    a, b = keras.Input((3,), name="a", dtype="int64"), keras.Input((3,), name="b", dtype="bool")
    model = keras.Model([a, b], [layers.Flatten(name="f")(a), keras.ops.logical_not(b)])
    given = np.arange(18).reshape(6, 3), np.arange(18).reshape(6, 3) % 2 == 0
    return (
        model,
        dict(zip("ab", given, strict=True)),
        lambda: dict(zip(("f", "logical_not"), model(given), strict=True)),
    )


def double(keras, layers):
    a = keras.Input((4,), name="a", dtype="float64")
    model = keras.Model(a, layers.Dense(3, name="d", dtype="float64")(a))
    return model, {"a": ONE.astype("f8")}, lambda: {"d": model(ONE.astype("f8"))}


def free_length(keras, layers):
    a = keras.Input((None, 3), name="a")
    model = keras.Model(a, layers.Conv1D(2, 3, padding="same", name="c")(a))
    return model, {"a": STEPS}, lambda: {"c": model(STEPS)}


def stateful(keras, layers):
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(6, 5, 3), name="a"),
            layers.Bidirectional(layers.LSTM(4, stateful=True, return_sequences=True)),
            layers.GRU(3, stateful=True, name="g"),
        ]
    )

    def run():
        for layer in model.layers:
            layer.reset_state()
        found = model(STEPS)
        model(STEPS + 1)  # leaves a state behind, which the file keeps
        return {"g": found}

    return model, {"a": STEPS}, run
