"""Weights that others have published for networks of the zoo: where they lie, what they reach, and how they are found here.

A licence is that of the project that publishes the file. The images of ImageNet, which nearly all were trained on, may be used
for non-commercial research and education only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from striate.data.download import fetch, sha256_of
from striate.errors import Failed, Refused, UsageError
from striate.machine import cache_folder
from striate.progress import Progress


@dataclass(frozen=True)
class Published:
    """One published file of weights.

    Attributes:
        network: the variant whose state dict it holds.
        url: its address; the last part is the file's name.
        top1, top5: percent on the validation images of the data set, as published; None where that is not said.
        tag: what ``build(weights=)`` calls it: ``imagenet``, ``imagenet-v2`` (a later, longer training), ``cifar10``.
        license: SPDX identifier.
        classes: ``imagenet`` or ``cifar10``.
        resize, interpolation: of the preprocessing that the figures were measured with, where not the variant's.
        sha256: of the file: the first digits, as published in its name.
    """

    network: str
    url: str
    top1: float | None
    top5: float | None
    tag: str = "imagenet"
    license: str = "BSD-3-Clause"
    classes: str = "imagenet"
    resize: int | None = None
    interpolation: str | None = None

    @property
    def file(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]

    @property
    def sha256(self) -> str:
        return Path(self.file).stem.rpartition("-")[2]

    @property
    def num_classes(self) -> int:
        return {"imagenet": 1000, "cifar10": 10}[self.classes]


def _torchvision(network: str, file: str, top1: float, top5: float, **more: object) -> Published:
    return Published(network, f"https://download.pytorch.org/models/{file}.pth", top1, top5, **more)  # type: ignore[arg-type]


def _timm(network: str, place: str, top1: float | None, top5: float | None, **more: object) -> Published:
    url = f"https://github.com/huggingface/pytorch-image-models/releases/download/{place}.pth"
    return Published(network, url, top1, top5, license="Apache-2.0", **more)  # type: ignore[arg-type]


def _cifar(depth: int, sha256: str, top1: float) -> Published:
    url = f"https://github.com/akamaster/pytorch_resnet_cifar10/raw/master/pretrained_models/resnet{depth}-{sha256}.th"
    return Published(f"resnet{depth}_cifar", url, top1, None, "cifar10", "BSD-2-Clause", "cifar10")


_recipe_2 = partial(_torchvision, tag="imagenet-v2", resize=232)

PUBLISHED: dict[tuple[str, str], Published] = {
    (weights.network, weights.tag): weights
    for weights in (
        _torchvision("alexnet", "alexnet-owt-7be5be79", 56.522, 79.066),
        _torchvision("vgg11", "vgg11-8a719046", 69.02, 88.628),
        _torchvision("vgg11_bn", "vgg11_bn-6002323d", 70.37, 89.81),
        _torchvision("vgg13", "vgg13-19584684", 69.928, 89.246),
        _torchvision("vgg13_bn", "vgg13_bn-abd245e5", 71.586, 90.374),
        _torchvision("vgg16", "vgg16-397923af", 71.592, 90.382),
        _torchvision("vgg16_bn", "vgg16_bn-6c64b313", 73.36, 91.516),
        _torchvision("vgg19", "vgg19-dcbb9e9d", 72.376, 90.876),
        _torchvision("vgg19_bn", "vgg19_bn-c79401a0", 74.218, 91.842),
        _torchvision("googlenet", "googlenet-1378be20", 69.778, 89.53),
        _torchvision("inception_v3", "inception_v3_google-0cc3c7bd", 77.294, 93.45),
        _torchvision("resnet18", "resnet18-f37072fd", 69.758, 89.078),
        _torchvision("resnet34", "resnet34-b627a593", 73.314, 91.42),
        _torchvision("resnet50", "resnet50-0676ba61", 76.13, 92.862),
        _torchvision("resnet101", "resnet101-63fe2227", 77.374, 93.546),
        _torchvision("resnet152", "resnet152-394f9c45", 78.312, 94.046),
        _torchvision("resnext50_32x4d", "resnext50_32x4d-7cdf4587", 77.618, 93.698),
        _torchvision("wide_resnet50_2", "wide_resnet50_2-95faca4d", 78.468, 94.086),
        _torchvision("densenet121", "densenet121-a639ec97", 74.434, 91.972),
        _torchvision("densenet161", "densenet161-8d451a50", 77.138, 93.56),
        _torchvision("densenet169", "densenet169-b2777c0a", 75.6, 92.806),
        _torchvision("densenet201", "densenet201-c1103571", 76.896, 93.37),
        _torchvision("squeezenet1_0", "squeezenet1_0-b66bff10", 58.092, 80.42),
        _torchvision("squeezenet1_1", "squeezenet1_1-b8a52dc0", 58.178, 80.624),
        _torchvision("mobilenet_v2", "mobilenet_v2-b0353104", 71.878, 90.286),
        _torchvision("mobilenet_v3_large", "mobilenet_v3_large-8738ca79", 74.042, 91.34),
        _torchvision("mobilenet_v3_small", "mobilenet_v3_small-047dcff4", 67.668, 87.402),
        _torchvision("shufflenet_v2_x0_5", "shufflenetv2_x0.5-f707e7126e", 60.552, 81.746),
        _torchvision("shufflenet_v2_x1_0", "shufflenetv2_x1-5666bf0f80", 69.362, 88.316),
        _torchvision("shufflenet_v2_x1_5", "shufflenetv2_x1_5-3c479a10", 72.996, 91.086, resize=232),
        _torchvision("shufflenet_v2_x2_0", "shufflenetv2_x2_0-8be3c8ee", 76.23, 93.006, resize=232),
        _torchvision("efficientnet_b0", "efficientnet_b0_rwightman-7f5810bc", 77.692, 93.532, license="Apache-2.0"),
        _torchvision("efficientnet_b1", "efficientnet_b1_rwightman-bac287d4", 78.642, 94.186, license="Apache-2.0"),
        _torchvision("efficientnet_b2", "efficientnet_b2_rwightman-c35c1473", 80.608, 95.31, license="Apache-2.0"),
        _torchvision("efficientnet_b3", "efficientnet_b3_rwightman-b3899882", 82.008, 96.054, license="Apache-2.0"),
        _torchvision("efficientnet_b4", "efficientnet_b4_rwightman-23ab8bcd", 83.384, 96.594, license="Apache-2.0"),
        _torchvision("efficientnet_b5", "efficientnet_b5_lukemelas-1a07897c", 83.444, 96.628, license="Apache-2.0"),
        _torchvision("efficientnet_b6", "efficientnet_b6_lukemelas-24a108a5", 84.008, 96.916, license="Apache-2.0"),
        _torchvision("efficientnet_b7", "efficientnet_b7_lukemelas-c5b4e57e", 84.122, 96.908, license="Apache-2.0"),
        _torchvision("efficientnet_v2_s", "efficientnet_v2_s-dd5fe13b", 84.228, 96.878),
        _torchvision("efficientnet_v2_m", "efficientnet_v2_m-dc08266a", 85.112, 97.156),
        _torchvision("efficientnet_v2_l", "efficientnet_v2_l-59c71312", 85.808, 97.788),
        _torchvision("regnet_y_400mf", "regnet_y_400mf-c65dace8", 74.046, 91.716),
        _torchvision("regnet_y_800mf", "regnet_y_800mf-1b27b58c", 76.42, 93.136),
        _torchvision("regnet_y_1_6gf", "regnet_y_1_6gf-b11a554e", 77.95, 93.966),
        _torchvision("regnet_y_3_2gf", "regnet_y_3_2gf-b5a9779c", 78.948, 94.576),
        _torchvision("regnet_y_8gf", "regnet_y_8gf-d0d0e4a8", 80.032, 95.048),
        _torchvision("regnet_y_16gf", "regnet_y_16gf-9e6ed7dd", 80.424, 95.24),
        _torchvision("regnet_y_32gf", "regnet_y_32gf-4dee3f7a", 80.878, 95.34),
        _torchvision("convnext_tiny", "convnext_tiny-983f1562", 82.52, 96.146),
        _torchvision("convnext_small", "convnext_small-0c510722", 83.616, 96.65),
        _torchvision("convnext_base", "convnext_base-6075fbad", 84.062, 96.87),
        _torchvision("convnext_large", "convnext_large-ea097f82", 84.414, 96.976),
        _recipe_2("resnet50", "resnet50-11ad3fa6", 80.858, 95.434),
        _recipe_2("resnet101", "resnet101-cd907fc2", 81.886, 95.78),
        _recipe_2("resnet152", "resnet152-f82ba261", 82.284, 96.002),
        _recipe_2("resnext50_32x4d", "resnext50_32x4d-1a0047aa", 81.198, 95.34),
        _recipe_2("wide_resnet50_2", "wide_resnet50_2-9ba9bcbe", 81.602, 95.758),
        _recipe_2("mobilenet_v2", "mobilenet_v2-7ebf99e0", 72.154, 90.822),
        _recipe_2("mobilenet_v3_large", "mobilenet_v3_large-5c1a4163", 75.274, 92.566),
        _recipe_2("efficientnet_b1", "efficientnet_b1-c27df63c", 79.838, 94.934, resize=255, interpolation="bilinear"),
        _recipe_2("regnet_y_400mf", "regnet_y_400mf-e6988f5f", 75.804, 92.742),
        _recipe_2("regnet_y_800mf", "regnet_y_800mf-58fc7688", 78.828, 94.502),
        _recipe_2("regnet_y_1_6gf", "regnet_y_1_6gf-0d7bc02a", 80.876, 95.444),
        _recipe_2("regnet_y_3_2gf", "regnet_y_3_2gf-9180c971", 81.982, 95.972),
        _recipe_2("regnet_y_8gf", "regnet_y_8gf-dc2b1b54", 82.828, 96.33),
        _recipe_2("regnet_y_16gf", "regnet_y_16gf-3e4a00f9", 82.886, 96.328),
        _recipe_2("regnet_y_32gf", "regnet_y_32gf-8db6d4b5", 83.368, 96.498),
        _timm("seresnet50", "v0.1-weights/seresnet50_ra_224-8efdb4bb", 80.26, 95.068),
        _timm("seresnet50_caffe", "v0.1-cadene/se_resnet50-ce0d4300", 77.65, 93.732),
        _timm("xception", "v0.1-cadene/xception-43020ad28", None, None),
        _cifar(20, "12fca82f", 91.73),
        _cifar(32, "d509ac18", 92.63),
        _cifar(44, "014dd654", 93.10),
        _cifar(56, "4bfd9763", 93.39),
        _cifar(110, "1d1ed7c2", 93.68),
    )
}
"""(network, tag) -> its weights."""


def find_published(network: str, tag: str) -> Published:
    """Raises ``UsageError`` with what there is where the network has no such weights."""
    if (network, tag) not in PUBLISHED:
        tags = [other for name, other in PUBLISHED if name == network]
        what = (
            f"no published weights {tag!r} are known for {network}" if tags else f"no published weights are known for {network}"
        )
        fix = f"its weights are called {' and '.join(map(repr, tags))}" if tags else "give the path of a weight file"
        raise UsageError(what, fix=fix)
    return PUBLISHED[network, tag]


def is_tag(weights: str | Path) -> bool:
    """Whether this names published weights, not a file."""
    return isinstance(weights, str) and (weights in ("imagenet", "cifar10") or weights.startswith("imagenet-"))


def locate(weights: Published, progress: Progress | None = None) -> Path:
    """The file, from the cache, from the folder ``STRIATE_WEIGHTS`` and those below it, or else downloaded into the cache.

    Raises:
        Refused: a file of that name in ``STRIATE_WEIGHTS``, or the one downloaded, has another SHA-256.
        Failed: it lies nowhere here, and cannot be downloaded.
    """
    cached = cache_folder() / "weights" / weights.file
    if cached.exists() and sha256_of(cached).startswith(weights.sha256):
        return cached
    for path in _given(weights.file):
        if not (found := sha256_of(path)).startswith(weights.sha256):
            why = f"its SHA-256 begins {found[: len(weights.sha256)]}, not {weights.sha256}"
            raise Refused("another file under the name of published weights", where=path, why=why, fix="remove or replace it")
        return path

    def told(done: int, total: int | None) -> None:
        if progress is not None:
            progress.stage(f"downloading {weights.file}", done, total or done)

    try:
        return fetch(weights.url, cached, sha256=weights.sha256, progress=told)
    except Failed as error:
        raise Failed(
            f"the weights {weights.tag!r} of {weights.network} are not here and cannot be downloaded",
            where=weights.url,
            why=error.why or error.what,
            fix=f"get {weights.file} by other means; put it at {cached}, or anywhere below a folder that STRIATE_WEIGHTS names",
        ) from error


def _given(file: str) -> Iterator[Path]:
    folder = os.environ.get("STRIATE_WEIGHTS")
    yield from sorted(Path(folder).expanduser().rglob(file)) if folder else ()
