"""Tasks that make SavedModels as TensorFlow Serving's users have them, in a child process."""


def graph_model(arguments, report):
    """A graph of TensorFlow 1: examples of one number each, parsed or not; y = x / 2 + 2, z = x / 2 + x2.

    ``classify_x`` gives two classes with their scores, y and y + 1; ``regress_x_to_z`` has a default for x2.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    graph = v1.Graph()
    with graph.as_default(), v1.Session(graph=graph) as session:
        a, b = v1.Variable(0.5, name="a"), v1.Variable(2.0, name="b")
        text = v1.placeholder(tf.string, name="tf_example")
        features = {
            "x": v1.FixedLenFeature([1], tf.float32),
            "x2": v1.FixedLenFeature([1], tf.float32, default_value=[0.0]),
        }
        parsed = v1.parse_example(text, features)
        x, x2 = tf.identity(parsed["x"], "x"), tf.identity(parsed["x2"], "x2")
        y, z = tf.add(a * x, b, name="y"), tf.add(a * x, x2, name="z")
        scores = tf.concat([y, y + 1], 1, name="scores")
        classes = tf.tile([["low", "high"]], [tf.shape(y)[0], 1], name="classes")
        session.run(v1.global_variables_initializer())

        def signature(inputs, outputs, method):
            return v1.saved_model.build_signature_def(
                {k: v1.saved_model.build_tensor_info(t) for k, t in inputs.items()},
                {k: v1.saved_model.build_tensor_info(t) for k, t in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        builder = v1.saved_model.Builder(arguments["path"])
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {
                "serving_default": signature({"x": x}, {"y": y}, "predict"),
                "classify_x": signature({"inputs": text}, {"scores": scores, "classes": classes}, "classify"),
                "scores_of_x": signature({"inputs": text}, {"scores": scores}, "classify"),
                "regress_x_to_y": signature({"inputs": text}, {"outputs": y}, "regress"),
                "regress_x_to_z": signature({"inputs": text}, {"outputs": z}, "regress"),
            },
        )
        builder.save()
    return {}


def module_model(arguments, report):
    """A module of TensorFlow 2 with functions of many kinds; ``only`` names those that become signatures."""
    import tensorflow as tf

    real, words = tf.TensorSpec(None, tf.float32), tf.TensorSpec([None], tf.string)
    pictures = tf.TensorSpec([None, None, None, 3], tf.float32)
    parsing = {"n": tf.io.FixedLenFeature([2], tf.int64), "word": tf.io.FixedLenFeature([], tf.string)}
    root = tf.Module()
    root.calls, root.weight = tf.Variable(0.0, name="calls"), tf.Variable(3.0, name="weight")

    def counting(x):
        root.calls.assign_add(1.0)
        return {"y": x + root.calls}

    def parsed(inputs):
        found = tf.io.parse_example(inputs, parsing)
        return {"outputs": tf.reduce_sum(tf.cast(found["n"], tf.float32), 1) + root.weight}

    functions = {
        "serving_default": (lambda x: {"y": root.weight * x}, [real]),
        "constant": (lambda x: {"y": 2.0}, [real]),
        "counting": (counting, [real]),
        "lengths": (lambda text: {"length": tf.strings.length(text), "text": text}, [words]),
        "means": (lambda picture: {"mean": tf.reduce_mean(picture, [1, 2, 3])}, [pictures]),
        "parsed": (parsed, [words]),
        "sum": (lambda x: {"total": tf.reduce_sum(x)}, [real]),
        "noise": (lambda x: {"y": x + tf.random.uniform(tf.shape(x))}, [real]),
        "nothing": (lambda: {"y": root.weight + 0.0}, []),
    }
    wanted = {}
    for name in arguments["only"]:
        function, specs = functions[name]
        setattr(root, f"call_{name}", tf.function(function, input_signature=specs))
        wanted[name] = getattr(root, f"call_{name}")
    tf.saved_model.save(root, arguments["path"], signatures=wanted)
    return {}
