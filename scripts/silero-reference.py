#!/usr/bin/env python3
"""Sound and probabilities for the parity test of inference/src/sound/vad.rs.

    pip install onnxruntime numpy
    pip download --no-deps silero-vad==6.2.3 && unzip silero_vad-*.whl
    scripts/silero-reference.py . inference/tests/data

Writes `vad-sound.s16` (two and a half seconds at 16 kHz: a vowel-like babble that we synthesise,
between silences) and `vad-probabilities.f32` (the package's own sequence front end on it). The
package imports torch for its other front ends; this one needs none, so an empty module stands in.
"""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np

package, out = Path(sys.argv[1]) / "silero_vad", Path(sys.argv[2])


def babble(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """Pulses of a voice through three resonances that move from vowel to vowel."""
    rate, n = 16000, int(seconds * 16000)
    t = np.arange(n) / rate
    vowels = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480]])
    places = np.linspace(0, 7, n)
    order = rng.integers(0, len(vowels), 9)
    low, part = places.astype(int), places % 1
    formants = vowels[order[low]] * (1 - part)[:, None] + vowels[order[low + 1]] * part[:, None]
    pitch = 125 + 25 * np.sin(2 * np.pi * 0.7 * t) + 6 * np.sin(2 * np.pi * 5 * t)
    phase = np.cumsum(pitch / rate)
    source = np.where(np.diff(np.floor(phase), prepend=0) > 0, 1.0, 0.0)
    source += 0.01 * rng.standard_normal(n)
    sound = source
    for k, width in enumerate((90, 110, 170)):
        radius = np.exp(-np.pi * width / rate)
        theta = 2 * np.pi * formants[:, k] / rate
        y = np.zeros(n)
        for i in range(n):
            y[i] = sound[i] + 2 * radius * np.cos(theta[i]) * (y[i - 1] if i else 0.0)
            y[i] -= radius * radius * (y[i - 2] if i > 1 else 0.0)
        sound = y
    syllables = 0.35 + 0.65 * np.clip(np.sin(2 * np.pi * 3.2 * t), 0, 1)
    sound = sound * syllables
    return 0.3 * sound / np.abs(sound).max()


spec = importlib.util.spec_from_file_location("silero_vad.sequence_vad", package / "sequence_vad.py")
stand_in = types.ModuleType("silero_vad.utils_vad")
stand_in.get_speech_timestamps_from_probs = None
sys.modules["silero_vad"] = types.ModuleType("silero_vad")
sys.modules["silero_vad.utils_vad"] = stand_in
sequence_vad = importlib.util.module_from_spec(spec)
sys.modules["silero_vad.sequence_vad"] = sequence_vad
spec.loader.exec_module(sequence_vad)

rng = np.random.default_rng(7)
silence = lambda seconds: np.zeros(int(seconds * 16000))
sound = np.concatenate([silence(0.4), babble(1.6, rng), silence(0.5)])
sound += 0.0005 * rng.standard_normal(sound.size)
pcm = np.round(np.clip(sound, -1, 1) * 32767).astype("<i2")
model = sequence_vad.SileroVADSequence(package / "data" / "silero_vad_16k_sequence.onnx")
heard = model.audio_forward(pcm.astype(np.float32) / 32768)
pcm.tofile(out / "vad-sound.s16")
heard.astype("<f4").tofile(out / "vad-probabilities.f32")
print(f"{heard.size} windows, {(heard >= 0.5).sum()} with a voice", file=sys.stderr)
