"""What settings of training choose from; imports nothing, since techniques declare it."""

from __future__ import annotations

#: Optimizers, by the names of parameters → their classes in Keras.
OPTIMIZERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
#: Losses of labels, by the names of parameters → their classes in Keras; "" where the labels decide.
LOSSES = {
    "auto": "", "cross_entropy": "", "mse": "MeanSquaredError", "mae": "MeanAbsoluteError", "huber": "Huber",
}  # fmt: skip
#: How answers are compared: auto: the divergence of class scores, and the squared error of values; kl: the divergence;
#: mse: the squared error of what comes before softmax or sigmoid.
COMPARISONS = ("auto", "kl", "mse")
#: Inputs are trained on as they are.
NO_CHANGE = "none"
#: Those of waveforms; the others are of images.
WAVES = ("shift", "gain", "noise")
#: How images or waveforms are changed at random at each step: see `deploykit.training.augment`.
AUGMENTATIONS = (
    NO_CHANGE, "flip", "crops", "mixup", "flip+crops", "flip+mixup", "crops+mixup", "flip+crops+mixup",
    *WAVES, "shift+gain", "shift+noise", "gain+noise", "shift+gain+noise",
)  # fmt: skip
#: Decibels between a waveform and the noise that is added.
NOISE_SNR_DB = 20.0
