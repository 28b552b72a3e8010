"""Keras 3 on TensorFlow, as it comes; ``precision`` float32 or mixed_bfloat16."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "tensorflow"

from benchmarks.peers import keras_training

if __name__ == "__main__":
    keras_training.main()
