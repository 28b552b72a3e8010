"""A picture of what augmentation does: some images of each class, each beside several of its training versions."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from striate.data.augment import Augment
from striate.data.augmenter import Augmenter
from striate.data.batches import Batches
from striate.data.preprocess import Preprocess
from striate.data.source import Source
from striate.data.stores import whole_picture
from striate.errors import Refused
from striate.files import replacing

CELL, GAP, CAPTION, MARGIN = 128, 6, 16, 20
PAPER, INK, MUTED = (252, 251, 248), (27, 30, 33), (105, 110, 116)

MIXED = "Blended with others of this sheet; in training, with others of the batch."

Picture = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]


def write_contact_sheet(
    path: Path,
    source: Source,
    indices: Places,
    augment: Augment,
    preprocess: Preprocess,
    *,
    seed: int = 0,
    versions: int = 7,
    rows: int = 12,
) -> Path:
    """Writes a PNG with a row an image: the original, then the pixels that the network reads in each of the first epochs.

    They are the very pixels, before normalisation, but for mixup and CutMix: those blend an image with others of its batch,
    here with others of the sheet.

    Args:
        indices: readable positions to choose from.
        augment: what is varied.
        preprocess: of the network that is to be trained.
        seed: of the run.
        versions: epochs shown.
        rows: at most so many images are shown, of as many classes as there is room for, up to four of each.

    Raises:
        Refused: nothing to show.
        UsageError: mixing asked for where the targets are numbers.
        Failed: the file could not be written.
    """
    chosen = _choose(source, indices, rows)
    if not len(chosen):
        raise Refused("There is no image for a contact sheet", where=source.location)
    augmenter = Augmenter(augment, preprocess.size, seed, len(source.classes), preprocess.resize)
    batches = Batches(
        source, chosen, chosen[:0], preprocess, batch=len(chosen), seed=seed, augmented=augment.resamples, workers=0
    )
    original = whole_picture(preprocess)
    columns = [[(original(source.read(i), source.key(i)), _words(source, source.targets[i])) for i in chosen.tolist()]]
    for epoch in range(versions):
        (batch,) = batches.train(epoch)
        varied = augmenter(batch, epoch)
        images = varied["image"].float().round().clamp(0, 255).byte()
        captions = [_words(source, label) if augment.mixes else "" for label in varied["label"].numpy()]
        cells = dict(zip(batch["index"].tolist(), zip(images.permute(0, 2, 3, 1).numpy(), captions, strict=True), strict=True))
        columns.append([cells[i] for i in chosen.tolist()])
    buffer = io.BytesIO()
    _draw(columns, MIXED if augment.mixes else "").save(buffer, "PNG")
    with replacing(path, "the contact sheet") as file:
        file.write(buffer.getvalue())
    return path


def _choose(source: Source, indices: Places, rows: int) -> Places:
    """Positions class by class, evenly spaced among the classes and within each; by number where there are no classes."""
    targets = source.targets[indices]
    if source.kind == "value":
        return indices[np.argsort(targets, kind="stable")][_spaced(len(indices), rows)]
    members = [np.flatnonzero(targets == k if source.kind == "label" else targets[:, k] > 0) for k in range(len(source.classes))]
    filled = [places for places in members if len(places)]
    if not filled:
        return indices[:0]
    shown = [filled[k] for k in _spaced(len(filled), rows).tolist()]
    each = min(4, max(1, rows // len(shown)))
    # An image of several classes is shown once.
    return indices[list(dict.fromkeys(np.concatenate([places[_spaced(len(places), each)] for places in shown]).tolist()))]


def _spaced(total: int, wanted: int) -> Places:
    return np.unique(np.linspace(0, total - 1, min(total, wanted)).round().astype(np.int64))


def _words(source: Source, target: npt.NDArray[np.generic]) -> str:
    """A target in words: a class, classes with their shares where they are mixed, or a number."""
    if source.kind == "value":
        return f"{float(target):.4g}"
    if target.ndim == 0:
        return source.classes[int(target)]
    shown = [(float(share), source.classes[k]) for k, share in enumerate(target.tolist()) if share > 0.005]
    return ", ".join(name if share > 0.995 else f"{name} {100 * share:.0f} %" for share, name in sorted(shown, reverse=True))


def _draw(columns: list[list[tuple[Picture, str]]], note: str) -> Image.Image:
    font = ImageFont.load_default(11)
    head, step = MARGIN + CAPTION, CELL + CAPTION + GAP
    sheet = Image.new("RGB", (2 * MARGIN + len(columns) * (CELL + GAP) + GAP, head + len(columns[0]) * step + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, cells in enumerate(columns):
        # The originals stand apart from what becomes of them.
        left = MARGIN + column * (CELL + GAP) + (2 * GAP if column else 0)
        draw.text((left, MARGIN - 6), f"epoch {column}" if column else "original", MUTED, font)
        for row, (picture, caption) in enumerate(cells):
            top = head + row * step
            image = _fit(picture)
            sheet.paste(image, (left + (CELL - image.width) // 2, top + (CELL - image.height) // 2))
            draw.text((left, top + CELL + 1), _shortened(caption, font), MUTED if column else INK, font)
    draw.text((MARGIN, sheet.height - MARGIN), note, MUTED, font)
    return sheet


def _fit(picture: Picture) -> Image.Image:
    """At most ``CELL`` pixels a side; small pictures are enlarged with visible pixels."""
    image = Image.fromarray(picture[:, :, 0] if picture.shape[2] == 1 else picture)
    factor = CELL / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.NEAREST if factor > 1 else Image.Resampling.BILINEAR)


def _shortened(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    if font.getlength(text) <= CELL:
        return text
    while text and font.getlength(text + "...") > CELL:
        text = text[:-1]
    return text + "..."
