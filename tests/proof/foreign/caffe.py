"""Runs a Caffe network by OpenCV: outputs by name, as an .npz file."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np

text, inputs, outputs = map(Path, sys.argv[1:])
network = cv2.dnn.readNetFromCaffe(str(text), str(text.with_suffix(".caffemodel")))
network.setInput(np.load(inputs))
names = list(network.getUnconnectedOutLayersNames())
np.savez(outputs, **dict(zip(names, network.forward(names), strict=True)))
print(json.dumps({"names": names, "version": cv2.__version__}))
