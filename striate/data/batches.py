"""What the training loop reads: the same batches in the same order, whatever the threads, the cache or a restart."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL
import simplejpeg
import torch

from striate import machine
from striate.data.cache import PixelCache, default_limit
from striate.data.prefetch import ordered
from striate.data.preprocess import Preprocess
from striate.data.randomness import occurrences, permutation, weighted_draw
from striate.data.source import ArraySource, Source
from striate.data.stores import ArrayStore, FileStore, Store, tensor, whole_picture
from striate.errors import Refused

Batch = dict[str, Any]
Positions = npt.NDArray[np.int64]

_SCAN_CHUNK = 16


class Batches:
    """Batches of a source for ``fit``: dicts of CPU tensors.

    ``image`` uint8 [N, C, H, W], ``index`` int64 [N] (positions in the source), ``label`` as in the source's targets;
    ``extent`` int64 [N, 2] where ``augmented`` yields whole pictures in canvases, and ``occurrence`` int64 [N] where an epoch
    may draw an image more than once. Order and content depend on the data, ``seed`` and epoch alone.

    Args:
        source: of pictures and targets.
        train_indices, validation_indices: positions in ``source``, integers; no other is ever read.
        preprocess: how pixels are made.
        batch: images a step, the effective batch.
        seed: of the order.
        augmented: ``train`` yields whole pictures (shorter side about 1.15 x the training size, never enlarged), for an
            ``Augment`` that ``resamples``; otherwise, and in validation always, ``preprocess``'s own pixels.
        workers: decoding threads, beside training at the lowest priority; 0: none; None: one a core. Arrays in memory need none.
        cache: folder of caches of decoded pictures; None: files are decoded in every epoch.
        sample_weights: one a train index: each epoch draws as many images, with replacement, in proportion; None: each once.
        cache_limit: bytes that all caches in the folder may take together; None: ``default_limit`` of the cache.

    Attributes:
        steps: batches of a training epoch. The last, partial one is dropped where two full ones or more exist, or where it
            would be a single image beside one.
        num_train, num_validation: images, without the bad ones.
        bad: (key, reason) of files that :meth:`scan` could not read.
    """

    def __init__(
        self,
        source: Source,
        train_indices: Positions,
        validation_indices: Positions,
        preprocess: Preprocess,
        *,
        batch: int,
        seed: int,
        augmented: bool,
        workers: int | None = None,
        cache: Path | None = None,
        sample_weights: npt.NDArray[np.float64] | None = None,
        cache_limit: int | None = None,
    ) -> None:
        self.source, self.preprocess, self.batch, self.seed, self.augmented = source, preprocess, batch, seed, augmented
        self._train, self._validation = np.asarray(train_indices, np.int64), np.asarray(validation_indices, np.int64)
        self._weights = None if sample_weights is None else np.asarray(sample_weights, np.float64)
        if self._weights is not None and len(self._weights) != len(self._train):
            raise ValueError(
                f"sample_weights has {len(self._weights)} entries for {len(self._train)} training images: give one each"
            )
        self.bad: list[tuple[str, str]] = []
        self._caches: list[PixelCache] = []
        self._trouble: list[str] = []
        self._targets = tensor(source.targets)
        self._fingerprint: str | None = None
        self._train_store: Store
        self._validation_store: Store
        if isinstance(source, ArraySource):
            self.workers = 0
            self._train_store = ArrayStore(source, self._train, preprocess, whole=augmented)
            self._validation_store = ArrayStore(source, self._validation, preprocess, whole=False)
        else:
            self.workers = machine.num_cores() if workers is None else workers
            pixels = self._open_cache(cache, "pixels", cache_limit)
            self._validation_store = self._train_store = FileStore(source, preprocess, False, pixels)
            if augmented:
                pictures = self._open_cache(cache, "pictures", cache_limit)
                self._train_store = FileStore(source, whole_picture(preprocess), True, pictures)

    @property
    def num_train(self) -> int:
        return len(self._train)

    @property
    def num_validation(self) -> int:
        return len(self._validation)

    @property
    def positions(self) -> Positions:
        """In the source: of the training images, then of the validation images, in the order of :meth:`exact`."""
        return np.concatenate((self._train, self._validation))

    @property
    def steps(self) -> int:
        full, rest = divmod(self.num_train, self.batch)
        return full + (rest > min(full, 1) and full < 2)

    @property
    def notes(self) -> list[str]:
        """What the user should know about the caches: that there is none, or that it stopped growing, and why."""
        reasons = [cache.stopped for cache in self._caches if cache.stopped]
        return self._trouble + [f"The cache takes no more: {why}. The rest is decoded again in every epoch." for why in reasons]

    def train(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from ``start_step`` on: the very ones that the whole epoch has there.

        Raises:
            ImageError: a file that cannot be read (:meth:`scan` finds them beforehand).
        """
        if self._weights is None:
            order, turns = self._train[permutation(self.seed, epoch, self.num_train)], None
        else:
            drawn = weighted_draw(self.seed, epoch, self._weights)
            order, turns = self._train[drawn], occurrences(drawn)
        starts = range(start_step * self.batch, self.steps * self.batch, self.batch)
        yield from self._load(self._train_store, order, starts, turns)

    def exact(self) -> Iterator[Batch]:
        """Every training image once and then every validation image, in order, as prediction sees them.

        Raises:
            ValueError: the training pictures are held whole, for augmentation.
        """
        if self.augmented:
            raise ValueError("exact() needs Batches(augmented=False): these hold whole pictures for training")
        yield from self._load(self._train_store, self._train, range(0, self.num_train, self.batch), None)
        yield from self.validation()

    def validation(self) -> Iterator[Batch]:
        """Every validation image once, in order; the last batch may be smaller."""
        yield from self._load(self._validation_store, self._validation, range(0, self.num_validation, self.batch), None)

    def scan(self, progress: Callable[[int, int], None] | None = None) -> Positions:
        """Decodes every file once, so filling the cache, and leaves the bad ones out of training and validation.

        Args:
            progress: called with (files done, files in all).

        Returns:
            Bad files a class, int64 [K] ([1] for regression); a file of several classes counts in each.
        """
        failed: dict[int, str] = {}
        total, done = self.num_train + self.num_validation, 0
        for store, positions in ((self._train_store, self._train), (self._validation_store, self._validation)):
            if not isinstance(store, FileStore):
                continue

            def check(chunk: Positions, stop: threading.Event, store: FileStore = store) -> tuple[int, dict[int, str]]:
                return len(chunk), store.fill(chunk, stop)

            chunks = (positions[start : start + _SCAN_CHUNK] for start in range(0, len(positions), _SCAN_CHUNK))
            for count, reasons in ordered(check, chunks, self.workers, ahead=4 * self.workers):
                failed |= reasons
                done += count
                if progress is not None:
                    progress(done, total)
        self.bad += [(self.source.key(position), reason) for position, reason in failed.items()]
        gone = np.array(sorted(failed), dtype=np.int64)
        kept = ~np.isin(self._train, gone)
        self._train, self._validation = self._train[kept], self._validation[~np.isin(self._validation, gone)]
        self._weights = None if self._weights is None else self._weights[kept]
        targets = self.source.targets[gone]
        if self.source.kind == "label":
            return np.bincount(targets, minlength=len(self.source.classes))
        return targets.sum(axis=0).astype(np.int64) if self.source.kind == "labels" else np.array([len(gone)])

    def state_dict(self) -> dict[str, str]:
        """What the order of samples follows from; there is nothing else to keep."""
        if self._fingerprint is None:
            self._fingerprint = self.source.fingerprint()
        weights = b"" if self._weights is None else self._weights.tobytes()
        samples = hashlib.sha256(self._train.tobytes() + b"/" + self._validation.tobytes() + b"/" + weights)
        return {"data": self._fingerprint, "samples": samples.hexdigest(), "seed": str(self.seed), "batch": str(self.batch)}

    def load_state_dict(self, state: dict[str, str]) -> None:
        """Makes sure that these are the batches that ``state`` was taken from.

        Raises:
            Refused: the data, the split, the seed or the batch is another.
        """
        own = self.state_dict()
        if changed := [name for name in own if own[name] != state.get(name)]:
            raise Refused(
                f"the run cannot continue as it was: changed since then: {', '.join(changed)}",
                where=self.source.location,
                why="other samples, or the same in another order, would follow",
                fix="Bring the files back as they were, or train anew.",
            )

    def close(self) -> None:
        """Gives the cache files back."""
        for cache in self._caches:
            cache.close()

    def _load(self, store: Store, order: Positions, starts: range, turns: Positions | None) -> Iterator[Batch]:
        def load(start: int, stop: threading.Event) -> Batch:
            positions = order[start : start + self.batch]
            index = torch.from_numpy(positions)
            batch: Batch = {**store.take(positions, stop), "index": index, "label": self._targets[index]}
            if turns is not None:
                batch["occurrence"] = torch.from_numpy(turns[start : start + self.batch])
            return batch

        return ordered(load, starts, self.workers, ahead=self.workers + 1, give_way=True)

    def _open_cache(self, root: Path | None, purpose: str, limit: int | None) -> PixelCache | None:
        if root is None:
            return None
        # Only what decides the pixels: not how they are normalised.
        pixels = replace(self.preprocess, mean=(0.0,), std=(1.0,), scale=1.0).fingerprint()
        made_by = f"2/{self.source.location}/{pixels}/{purpose}/{PIL.__version__}/{simplejpeg.__version__}/{torch.__version__}"
        name = f"{self.source.name[:40]}-{purpose}-{hashlib.sha256(made_by.encode()).hexdigest()[:16]}"
        try:
            root.mkdir(parents=True, exist_ok=True)
            cache = PixelCache(root, name, default_limit(root) if limit is None else limit)
        except OSError as error:
            self._trouble.append(f"No cache in {root}: {error.strerror}. Files are decoded again in every epoch.")
            return None
        self._caches.append(cache)
        return cache
