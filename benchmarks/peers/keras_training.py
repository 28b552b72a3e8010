"""``model.fit``, on the backend that ``keras_tensorflow.py`` or ``keras_jax.py`` has chosen."""

from __future__ import annotations

import time
from typing import Any

import keras  # type: ignore[import-not-found]
import numpy as np

from benchmarks.peers import job as asked
from benchmarks.peers.keras_networks import large_network, small_network


class Clock:
    """Times the epochs of ``fit``."""

    def __init__(self, images: int) -> None:
        self.watch, self.images, self.begun = asked.Stopwatch(), images, 0.0

    def callback(self) -> Any:
        return keras.callbacks.LambdaCallback(on_epoch_begin=self._begin, on_epoch_end=self._end)

    def _begin(self, epoch: int, logs: Any = None) -> None:
        self.begun = time.perf_counter()

    def _end(self, epoch: int, logs: Any = None) -> None:
        self.watch.speeds.append(self.images / (time.perf_counter() - self.begun))


def small(job: dict[str, Any]) -> None:
    data = asked.read_small(job)
    model = small_network(job["model"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    clock = Clock(len(data.images))
    scored = (data.scored_images[..., None], data.scored_labels)
    each = job["score"] == "validation"
    history = model.fit(
        data.images[..., None], data.labels, batch_size=job["batch"], epochs=job["epochs"], verbose=0,
        callbacks=[clock.callback()], validation_data=scored if each else None,
    )  # fmt: skip
    accuracies = history.history["val_accuracy"] if each else [model.evaluate(*scored, batch_size=1000, verbose=0)[1]]
    _answer(model, clock, accuracy=float(accuracies[-1]), accuracies=[float(value) for value in accuracies])


def large(job: dict[str, Any]) -> None:
    images, labels = asked.read_made(job)
    model = _compiled(job, normalise=True)
    clock = Clock(len(images))
    model.fit(images, labels, batch_size=job["batch"], epochs=job["epochs"], verbose=0, callbacks=[clock.callback()])
    _answer(model, clock)


def photos(job: dict[str, Any]) -> None:
    """Keras on TensorFlow alone: tf.data is its pipeline."""
    from benchmarks.peers.tf_data import make_dataset

    data, num = make_dataset(job, drop_last=True)
    model = _compiled(job, normalise=False)
    clock = Clock(num // job["batch"] * job["batch"])
    model.fit(data, epochs=job["epochs"], verbose=0, callbacks=[clock.callback()])
    _answer(model, clock)


def _compiled(job: dict[str, Any], normalise: bool) -> Any:
    model = large_network(job["model"], job["num_classes"], job["size"], normalise)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    return model


def _answer(model: Any, clock: Clock, **more: Any) -> None:
    backend = keras.backend.backend()
    versions = {"keras": keras.__version__, backend: __import__(backend).__version__}
    trained = int(sum(np.prod(weight.shape) for weight in model.trainable_weights))
    asked.answer(**clock.watch.figures(), **more, parameters=trained, versions=versions, threads=asked.cores())


def main() -> None:
    job = asked.read_job()
    keras.utils.set_random_seed(job["seed"])
    keras.mixed_precision.set_global_policy(job.get("precision", "float32"))
    {"small": small, "large": large, "photos": photos}[job["task"]](job)
