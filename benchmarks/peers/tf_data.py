"""tf.data: decode, random resized crop, mirror, normalise, in parallel; the resize antialiased or not."""

from __future__ import annotations

from typing import Any

import tensorflow as tf  # type: ignore[import-untyped]

from benchmarks.peers import job as asked


def make_dataset(job: dict[str, Any], drop_last: bool = False) -> tuple[Any, int]:
    """Shuffled batches of float32 [N, size, size, 3] and labels, and the number of images. ``workers`` 0: nothing in parallel."""
    files, labels = asked.list_photos(job["folder"])
    size, workers = job["size"], job["workers"] or None

    def prepare(path: Any, label: Any) -> tuple[Any, Any]:
        data = tf.io.read_file(path)
        begin, extent, _ = tf.image.sample_distorted_bounding_box(
            tf.io.extract_jpeg_shape(data), tf.zeros((1, 0, 4)), area_range=job["scale"], aspect_ratio_range=(3 / 4, 4 / 3),
            min_object_covered=0.0, use_image_if_no_bounding_boxes=True,
        )  # fmt: skip
        window = tf.stack((begin[0], begin[1], extent[0], extent[1]))
        image = tf.image.decode_and_crop_jpeg(data, window, channels=3)
        image = tf.image.resize(image, (size, size), antialias=job["antialias"])
        image = tf.image.random_flip_left_right(image)
        return (image / 255 - asked.IMAGENET_MEAN) / asked.IMAGENET_STD, label

    data = tf.data.Dataset.from_tensor_slices((files, labels)).shuffle(len(files), reshuffle_each_iteration=True)
    data = data.map(prepare, num_parallel_calls=workers).batch(job["batch"], drop_remainder=drop_last)
    return (data.prefetch(tf.data.AUTOTUNE) if workers else data), len(files)


def main() -> None:
    job = asked.read_job()
    tf.random.set_seed(job["seed"])
    data, num = make_dataset(job)
    watch = asked.Stopwatch()
    for _ in range(job["epochs"]):
        with watch.epoch(num):
            for images, _labels in data:
                assert images.shape[1:] == (job["size"], job["size"], 3)
    asked.answer(**watch.figures(), versions={"tensorflow": tf.__version__}, threads=asked.cores())


if __name__ == "__main__":
    main()
