"""Commands that find pictures by what a network makes of them. What does the work is imported inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from striate.cli.parameters import Arch, Count, Device, Flag, Workers
from striate.cli.printing import listening
from striate.cli.retrieval_printing import print_clusters, print_embedded, print_matches
from striate.errors import UsageError

if TYPE_CHECKING:
    from striate.index import Index


def embed(
    model: Path,
    data: str,
    /,
    *,
    out: Annotated[Path, Parameter(name=["--out", "-o"])],
    weights: str | None = None,
    arch: Arch = None,
    batch: Count = 64,
    backend: Literal["auto", "torch", "onnx", "openvino"] = "auto",
    workers: Workers = None,
    device: Device = "cpu",
    json: Flag = False,
) -> int:
    """Write down what a network makes of every picture, so that similar ones can be found.

    The index holds a vector of length 1 for each: what the last layer reads. After Ctrl-C or a crash the same command goes
    on. A picture that cannot be read is named and left out, and the exit status is 1.

    Args:
        model: A run's folder, a model.safetensors, or with --weights a network by name.
        data: A folder (of class folders, or simply of pictures), a .csv or .npz file, or scheme:path.
        out: The index: .npz, or .parquet (pip install "striate[parquet]").
        weights: imagenet, imagenet-v2 or cifar10 (published ones, downloaded where they are not here), or a file.
        arch: FILE.py:FUNCTION, where the network is your own; a network by name, where the model is another tool's file.
        batch: Images at once.
        backend: What runs the network. auto: the fastest here that agrees with it, where there are many pictures.
        workers: Decoding threads.
        device: cpu or cuda.
        json: Print what was made as JSON.
    """
    from striate import machine
    from striate.embedding import embed
    from striate.index import check_target
    from striate.prediction import load

    check_target(out)
    with listening() as progress:
        opened = load(model, arch=arch, device=device, weights=weights, progress=progress)
        machine.tune()
        made = embed(opened, data, out, batch=batch, backend=backend, workers=workers, progress=progress)
    print_embedded(made, json)
    return 1 if made.bad else 0


def search(
    index: Path,
    image: Path | None = None,
    /,
    *,
    top: Annotated[Count, Parameter(name=["--top", "-k"])] = 5,
    model: Path | None = None,
    weights: str | None = None,
    arch: Annotated[str | None, Parameter(name="--arch")] = None,
    duplicates: Flag = False,
    threshold: float = 0.95,
    map: Path | None = None,
    method: Literal["pca", "umap"] = "pca",
    device: Device = "cpu",
    json: Flag = False,
) -> None:
    """Find the pictures of an index that are most like another one, or like each other, or draw them all on a map.

    Similarity is the cosine between two vectors: 1 is the same picture to the network, 0 nothing in common.

    Args:
        index: What `striate embed` wrote.
        image: The picture to find others like. It takes the model of the index, which is opened where it was.
        top: Pictures to name.
        model: The index's model, where it has moved: as for `striate embed`.
        weights: Of the model, where it was given so.
        arch: FILE.py:FUNCTION, where the network is your own.
        duplicates: List clusters of near-duplicates: pictures that a chain of similar pairs connects.
        threshold: Similarity from which on a pair counts, above 0 and at most 1.
        map: Draw the index on a plane: a .csv (key, label, x, y) or a .png.
        method: Of the map: pca, or umap (pip install "striate[umap]").
        device: cpu or cuda.
        json: Print matches or clusters as JSON.
    """
    from striate.index import read_index

    if (image is not None) + duplicates + (map is not None) != 1:
        raise UsageError("What to search for?", fix="give one of: an image, --duplicates, --map FILE")
    opened = read_index(index)
    if image is not None:
        _find_similar(opened, image, top, model, weights, arch, device, json)
    elif map is not None:
        from striate.embedding_map import write_map

        print(write_map(map, opened, method))
    else:
        from striate.search import near_duplicates

        with listening() as progress:
            clusters = near_duplicates(opened.vectors, threshold, lambda done, num: progress.stage("comparing", done, num))
        print_clusters(opened, clusters, threshold, json)


def _find_similar(
    index: Index,
    image: Path,
    top: int,
    model: Path | None,
    weights: str | None,
    arch: str | None,
    device: Device,
    as_json: bool,
) -> None:
    from striate.embedding import find_similar, reopen
    from striate.prediction import load

    if model is None and weights is not None:
        model = Path(index.origin.name)
    with listening() as progress:
        if model is None:
            opened = reopen(index, arch=arch, device=device, progress=progress)
        else:
            opened = load(model, arch=arch, device=device, weights=weights, progress=progress)
        matches = find_similar(index, image, top, opened)
    print_matches(str(image), matches, len(index), as_json)
