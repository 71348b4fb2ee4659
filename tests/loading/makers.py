"""Tasks that make models with TensorFlow, in a child process."""

import tempfile
from pathlib import Path


def custom(arguments, report):
    """Custom layers by name; a model of its own class for "Net"."""
    import keras
    import my_layers
    import numpy as np

    kind = getattr(my_layers, arguments["kind"])
    if issubclass(kind, keras.Model):
        model = kind(name="net")
        model(np.zeros((1, 4), np.float32))
    else:
        x = keras.Input((4,), name="x")
        model = keras.Model(x, kind(name="own")(keras.layers.Dense(3, name="dense")(x)), name="net")
    model.save(arguments["path"])
    return {}


def lambda_model(arguments, report):
    """A Lambda layer that would leave a mark when it runs."""
    import keras

    mark = arguments["mark"]
    x = keras.Input((4,), name="x")
    layer = keras.layers.Lambda(lambda v: (open(mark, "w").close(), v)[1], name="mark")  # noqa: PTH123  no Path in it
    keras.Model(x, layer(x)).save(arguments["path"])
    Path(mark).unlink()
    return {}


def legacy(arguments, report):
    """A file of the old package: a functional model with a nested one, and a Sequential one."""
    import tf_keras

    layers = tf_keras.layers
    image = layers.Input((8, 8, 1), name="image")
    inner = tf_keras.Sequential([layers.Conv2D(4, 3, input_shape=(8, 8, 1), name="conv"), layers.ReLU(name="relu")])
    x = layers.Flatten(name="flat")(inner(image))
    joined = layers.Add(name="add")([layers.Dense(5, name="a")(x), layers.Dense(5, name="b")(x)])
    model = tf_keras.Model(image, layers.Dense(3, activation="softmax", name="class")(joined))
    model.save(arguments["path"])
    return {"count": model.count_params()}


def shapes(arguments, report):
    """One file for each kind of layer, and what Keras says of its output."""
    import keras

    found = {}
    for number, (config, shape) in enumerate(arguments["layers"]):
        layer = keras.layers.deserialize(config)
        inputs = [keras.Input(s, name=f"x{i}") for i, s in enumerate(shape)]
        outputs = layer(inputs if len(inputs) > 1 else inputs[0])
        path = Path(arguments["folder"]) / f"{number}_{layer.name}.keras"
        model = keras.Model(inputs, outputs)
        model.save(path)
        found[path.name] = [list(outputs.shape), outputs.dtype, model.count_params()]
    return found


def sequentials(arguments, report):
    """Sequential models whose first layer has no shape rule, in both formats."""
    import keras
    import my_layers

    kinds = {
        "flip": keras.layers.RandomFlip(),
        "crop": keras.layers.CenterCrop(4, 4),
        "bins": keras.layers.Discretization([0.0]),
        "transposed": keras.layers.Conv2DTranspose(3, 3, dilation_rate=2),
        "wrapped": keras.layers.SpectralNormalization(keras.layers.Dense(4)),
        "own": my_layers.Twice(),
    }
    files = []
    for name, layer in kinds.items():
        start = keras.Input((8, 8, 3), name="x")
        model = keras.Sequential([start, layer, keras.layers.Flatten(), keras.layers.Dense(3, name="head")])
        for ending in ("keras", "h5"):
            files.append(f"{name}.{ending}")
            model.save(f"{arguments['folder']}/{files[-1]}")
    return {"files": files}


def layer_names(arguments, report):
    """The layer classes of the Keras that is installed."""
    import keras

    items = vars(keras.layers).items()
    return {"names": sorted(n for n, v in items if isinstance(v, type) and issubclass(v, keras.Layer))}


def saved_model(arguments, report):
    """A SavedModel with an operator of every kind a hostile one would use."""
    import numpy as np
    import tensorflow as tf

    kind, mark = arguments["kind"], arguments.get("mark", "")
    module = tf.Module()
    module.w = tf.Variable(np.ones((4, 3), np.float32), name="w")

    def call(x):
        y = tf.matmul(x, module.w)
        if kind == "WriteFile":
            tf.io.write_file(mark, "run")
        elif kind == "ReadFile":
            y += tf.cast(tf.strings.length(tf.io.read_file(mark)), tf.float32)
        elif kind == "EagerPyFunc":
            y = tf.ensure_shape(tf.py_function(lambda v: v, [y], tf.float32), (None, 3))
        elif kind == "PyFunc":
            y = tf.ensure_shape(tf.numpy_function(lambda v: v, [y], tf.float32), (None, 3))
        elif kind == "SaveV2":
            tf.raw_ops.SaveV2(prefix=mark, tensor_names=["y"], shape_and_slices=[""], tensors=[y])
        elif kind in ("summary", "summary to a file"):
            writer = tf.raw_ops.SummaryWriter(shared_name="log", container="")
            if kind == "summary to a file":
                tf.raw_ops.CreateSummaryFileWriter(
                    writer=writer, logdir=mark, max_queue=1, flush_millis=1, filename_suffix="x"
                )
            tf.cond(
                tf.reduce_sum(y) > 1e9,
                lambda: _log(tf.raw_ops.WriteScalarSummary, writer, y[0, 0]),
                lambda: _log(tf.raw_ops.ScalarSummary, None, y[0, 0]),
            )
        elif kind == "branch":
            y = tf.cond(tf.reduce_sum(y) > 1e9, lambda: _write(y, mark), lambda: y)
        return {"y": y}

    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    function = tf.function(call, input_signature=[spec])
    if kind == "unsigned":
        module.call, module.other = function, tf.function(lambda: module.w)  # one alone would be exported
        tf.saved_model.save(module, arguments["path"])
    elif kind == "two":
        tf.saved_model.save(module, arguments["path"], signatures={"a": function, "b": function})
    else:
        tf.saved_model.save(module, arguments["path"], signatures=function)
    return {}


def _log(operator, writer, value):
    import tensorflow as tf

    if writer is None:
        operator(tags="y", values=value)
    else:
        operator(writer=writer, step=tf.constant(1, tf.int64), tag="y", value=value)
    return tf.constant(True)


def _write(y, mark):
    import tensorflow as tf

    with tf.control_dependencies([tf.io.write_file(mark, "run")]):
        return tf.identity(y)


def tflite(arguments, report):
    """A dense layer: plain with one known weight, in half precision, or with an operator of TensorFlow's own."""
    import numpy as np
    import tensorflow as tf

    kind = arguments["kind"]
    module = tf.Module()
    weights = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3)
    weights[2, 1] = arguments.get("value", 0.5)
    module.w = tf.Variable(weights)

    @tf.function(input_signature=[tf.TensorSpec((None, 5), tf.float32, name="x")])
    def call(x):
        y = tf.matmul(x, module.w)
        return tf.math.erfinv(y) if kind == "custom" else y

    converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()], module)
    if kind == "float16":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]
    elif kind == "custom":
        converter.allow_custom_ops = True
    Path(arguments["path"]).write_bytes(converter.convert())
    return {}


def checkpoint(arguments, report):
    """What TensorFlow says a checkpoint holds."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(arguments["path"])
    types = reader.get_variable_to_dtype_map()
    return {
        name: [shape, types[name].name]
        for name, shape in reader.get_variable_to_shape_map().items()
        if types[name] != tf.string
    }


def live(arguments, report):
    """Load models of this process; an error becomes data."""
    import os

    from deploykit.core import errors
    from deploykit.loading._load import load

    os.environ["DEPLOYKIT_CACHE"] = arguments["cache"]
    try:
        return {"models": [load(m, **arguments["options"]).to_json() for m in _live_models(arguments["kind"])]}
    except errors.DeploykitError as error:
        return {"error": errors.to_json(error)}


def _live_models(kind):
    import keras
    import my_layers
    import numpy as np

    from deploykit.testing import models

    x = keras.Input((4,), name="x")
    if kind == "cnn":
        model = models.keras_cnn()
        yield model
        yield models.keras_cnn()
        model.compile("adam", "mse")
        model.fit(np.ones((2, 8, 8, 1)), np.ones((2, 3)), verbose=0)
        yield model
    elif kind == "custom":
        yield keras.Model(x, my_layers.Thrice(name="own")(keras.layers.Dense(3, name="dense")(x)), name="net")
    elif kind == "lambda":
        yield models.keras_lambda()
    elif kind == "unbuilt":
        yield keras.Sequential([keras.layers.Dense(2)], name="unbuilt")
    elif kind == "subclass":
        yield my_layers.Net(name="net")
    elif kind == "called":
        model = my_layers.Net(name="net")
        model(np.zeros((1, 4), np.float32))
        yield model
    elif kind in ("module", "silent"):
        import tensorflow as tf

        class Doubling(tf.Module):
            def __init__(self, name):
                super().__init__(name)
                self.scale = tf.Variable([2.0, 2.0, 2.0])

        if kind == "module":
            signature = [tf.TensorSpec((None, 3), name="x")]
            Doubling.run = tf.function(lambda self, x: x * self.scale, input_signature=signature)
        module = Doubling("doubling" if kind == "module" else kind)
        yield module
        if kind == "module":
            with tempfile.TemporaryDirectory() as folder:
                tf.saved_model.save(module, folder)
                again = tf.saved_model.load(folder)
                again.name = "doubling"
                yield again
    elif kind == "legacy":
        import tf_keras

        yield tf_keras.Sequential([tf_keras.layers.Dense(2, input_shape=(3,))])
    elif kind == "layer":
        yield keras.layers.Dense(3)
    elif kind == "main":
        here = type("Here", (keras.layers.Layer,), {"__module__": "__main__", "call": lambda self, v: v})
        yield keras.Model(x, here(name="here")(x))
    elif kind == "unsaved":
        yield keras.Model(x, my_layers.Needy(object(), name="needy")(x), name="needy")


def graphs(arguments, report):
    """Frozen graphs of ``kinds`` in ``folder``: written by hand, as TensorFlow 1 did, without shapes beside nodes."""
    import numpy as np
    import tensorflow as tf

    v1 = tf.compat.v1
    rng = np.random.default_rng(0)

    def branches():
        x, keep = v1.placeholder(tf.float32, (None, 4), name="x"), v1.placeholder_with_default(1.0, (), name="keep")
        hidden = tf.nn.relu(tf.matmul(x, rng.normal(size=(4, 8)).astype("f4")), name="hidden")
        low, high = tf.split(hidden * keep, 2, axis=1, name="split")
        tf.identity(tf.nn.softmax(tf.matmul(low, rng.normal(size=(4, 3)).astype("f4"))), name="chances")
        tf.reduce_sum(high, axis=1, name="size")
        v1.summary.histogram("watched", hidden)
        v1.assert_greater(hidden, -1.0)

    def half():
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        tf.cast(
            tf.matmul(tf.cast(x, tf.float16), np.random.default_rng(5).normal(size=(4, 2)).astype("f2")),
            tf.float32,
            name="y",
        )

    def unfrozen():
        tf.matmul(v1.placeholder(tf.float32, (None, 4), name="x"), v1.get_variable("w", (4, 3)), name="y")

    def writes():
        x = v1.placeholder(tf.float32, (None, 4), name="x")
        with tf.control_dependencies([tf.io.write_file(arguments["mark"], "run")]):
            tf.identity(x, name="y")

    made = {}
    for kind in (branches, half, unfrozen, writes):
        with tf.Graph().as_default() as graph:
            kind()
        made[kind.__name__] = graph.as_graph_def()
    folder = Path(arguments["folder"])
    for name, graph in made.items():
        (folder / f"{name}.pb").write_bytes(graph.SerializeToString(deterministic=True))
    with tf.Graph().as_default() as graph, v1.Session() as session:
        unfrozen()
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "net.ckpt"))
    tf.io.write_graph(made["branches"], str(folder), "graph.pbtxt")
    return {}


def graph_answers(arguments, report):
    """What TensorFlow 1's session gives for a graph: tensors by name, fed by name."""
    import numpy as np
    import tensorflow as tf

    graph_def = tf.compat.v1.GraphDef.FromString(Path(arguments["path"]).read_bytes())
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph) as session:
        tf.import_graph_def(graph_def, name="")
        feeds = {name: np.asarray(value, np.float32) for name, value in arguments["feeds"].items()}
        found = session.run(arguments["fetches"], feeds)
    return {"answers": [np.asarray(value, np.float64).tolist() for value in found]}
