#!/usr/bin/env python3
"""Scores of the TFLite interpreter for the windows of inference/tests/yamnet_parity.rs.

    pip install ai-edge-litert numpy
    NOVASTREAM_WRITE_SAMPLES=windows.f32 cargo test -p novastream-inference --test yamnet_parity
    scripts/yamnet-reference.py yamnet-lite-classification-1.tflite windows.f32 \
        inference/tests/data/yamnet-esc10.bin
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter

model, samples, out = sys.argv[1:]
interpreter = Interpreter(model_path=model)
(source,) = interpreter.get_input_details()
windows = np.fromfile(samples, dtype="<f4").reshape(-1, 15600)
interpreter.resize_tensor_input(source["index"], windows[0].shape)
interpreter.allocate_tensors()
scores = []
for window in windows:
    interpreter.set_tensor(source["index"], window)
    interpreter.invoke()
    scores.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
scores = np.stack(scores) * 256
assert np.all(scores == np.round(scores)) and scores.max() < 256, "not in steps of 1/256"
scores.astype(np.uint8).tofile(out)
