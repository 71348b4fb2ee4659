"""Attacks of the Adversarial Robustness Toolbox on the same examples: prints which stay right."""

import json
import sys

import keras
import numpy as np
import onnxruntime
from art.attacks.evasion import ProjectedGradientDescentNumpy, SquareAttack
from art.estimators.classification import TensorFlowV2Classifier

given, keras_file, onnx_file, queries = sys.argv[1:]
with np.load(given) as found:
    examples, labels = found["examples"].astype(np.float32), found["labels"]
    low, high, epsilon = (float(found[name]) for name in ("low", "high", "epsilon"))
session = onnxruntime.InferenceSession(onnx_file)
name = session.get_inputs()[0].name


def scores(x):
    return session.run(None, {name: x.astype(np.float32)})[0]


def right(x):
    return (scores(x).argmax(1) == labels).tolist()


classes = scores(examples[:1]).shape[1]
model = keras.models.load_model(keras_file)
white = TensorFlowV2Classifier(
    model=model, nb_classes=classes, input_shape=examples.shape[1:], clip_values=(low, high),
    loss_object=keras.losses.SparseCategoricalCrossentropy(),
)  # fmt: skip
pgd = ProjectedGradientDescentNumpy(
    white, norm=np.inf, eps=epsilon, eps_step=2.5 * epsilon / 20, max_iter=20, num_random_init=1, verbose=False
)
square = SquareAttack(white, norm=np.inf, eps=epsilon, max_iter=int(queries), p_init=0.8, nb_restarts=1, verbose=False)
hot = np.eye(classes, dtype=np.float32)[labels]
print(json.dumps({"pgd": right(pgd.generate(examples, hot)), "square": right(square.generate(examples, hot))}))
