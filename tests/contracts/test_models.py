"""One contract, swept over every network of the zoo."""

from __future__ import annotations

import importlib
import io
import pkgutil
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from zoo_names import NAMES, REAL

from striate import models, zoo
from striate.arithmetic import Convolution, DoesNotFit, Pooling, pair
from striate.errors import UsageError
from striate.layers import StochasticDepth, arithmetic_of
from striate.models.variant import FixedSizeNetwork, Network


def on_meta(name: str, **arguments: Any) -> Network:
    with torch.device("meta"):
        return zoo.build(name, **arguments)


def real(name: str, num_classes: int = 7) -> tuple[Network, Tensor]:
    """A network and a batch of four images of moderate size for it."""
    torch.manual_seed(0)
    variant, network = zoo.MODELS[name], zoo.build(name, num_classes)
    size = variant.input_size if variant.fixed_size else (max(min(variant.input_size[0], 64), *variant.min_size),) * 2
    return network, torch.randn(4, variant.in_channels, *size)


def without_chance(network: Network) -> Network:
    """The same with its dropout and stochastic depth switched off."""
    for module in network.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d | StochasticDepth):
            module.eval()
    return network


def last_layers(network: Network) -> tuple[str, ...]:
    return network.head_path, *network.aux_head_paths


def trained_a_little(name: str) -> tuple[Network, Tensor]:
    """The same in eval mode, its batch norms' statistics moved off their start."""
    network, images = real(name)
    with torch.no_grad():
        network.train()(images)
    return network.eval(), images


def meta_images(name: str, batch: int = 2, channels: int | None = None, size: tuple[int, int] | None = None) -> Tensor:
    variant = zoo.MODELS[name]
    return torch.empty(batch, channels or variant.in_channels, *(size or variant.input_size), device="meta")


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_channels_classes_and_sizes(name: str) -> None:
    """Grey images of its own size, colour images of the least, four channels of an odd one."""
    variant = zoo.MODELS[name]
    odd = (variant.min_size[0] + 13, variant.min_size[1] + 6)
    for channels, size in ((1, variant.input_size), (3, variant.min_size), (4, odd)):
        network = on_meta(name, num_classes=7, in_channels=channels, input_size=size).eval()
        images = meta_images(name, channels=channels, size=size)
        assert network(images).shape == (2, 7)
    assert network.embed(images).shape == (2, network.embedding_dim)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_least_size_trains(name: str) -> None:
    """Two images are enough for every batch norm, in the auxiliary classifiers as well."""
    size = zoo.MODELS[name].min_size
    network, images = on_meta(name, num_classes=7, input_size=size).train(), meta_images(name, size=size)
    assert all(min(each.shape[2:]) >= 1 for each in network.feature_maps(images))
    logits, auxiliary = network.forward_with_aux(images)
    assert [each.shape for each in (logits, *auxiliary)] == [(2, 7)] * len(last_layers(network))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_strides_are_input_pixels_per_map_pixel(name: str) -> None:
    """An input that grows by so many strides brings so many more map pixels; where all windows pad, none is lost."""
    variant, network = zoo.MODELS[name], on_meta(name)
    assert list(network.strides) == sorted(network.strides)
    rows, columns = (8 * max(network.strides, default=1), 5 * max(network.strides, default=1))
    keeps = []

    def map_sizes(size: tuple[int, int]) -> list[tuple[int, ...]]:
        of_size = on_meta(name, input_size=size) if variant.fixed_size else network
        for module in of_size.modules():
            if isinstance(layer := arithmetic_of(module), Convolution | Pooling):
                module.register_forward_hook(lambda *_, layer=layer: keeps.append(is_centred(layer)))
        maps = of_size.feature_maps(meta_images(name, size=size))
        assert [each.shape[:2] for each in maps] == [(2, channels) for channels in network.channels]
        return [tuple(each.shape[2:]) for each in maps]

    height, width = variant.input_size[0] + 1, variant.input_size[1] + 3
    before, after = map_sizes((height, width)), map_sizes((height + rows, width + columns))
    for stride, small, large in zip(network.strides, before, after, strict=True):
        assert large == (small[0] + rows // stride, small[1] + columns // stride)
        ceiling = (-(-height // stride), -(-width // stride))
        assert small == ceiling if all(keeps) else (small[0] <= ceiling[0] and small[1] <= ceiling[1])


def is_centred(layer: Convolution | Pooling) -> bool:
    """Whether a window stands on each pixel that its stride leaves, the border's included: an odd one, padded by half."""
    if isinstance(layer.padding, str):
        return layer.padding == "same"
    sides = zip(*(pair(value, "a window", 0) for value in (layer.kernel, layer.dilation, layer.padding)), strict=True)
    return all(2 * padding == dilation * (kernel - 1) for kernel, dilation, padding in sides)


@pytest.mark.parametrize("name", NAMES)
def test_stage_paths_hold_what_each_map_needs(name: str) -> None:
    network = on_meta(name)
    assert list(network.stage_paths) == ["stem", *(str(stage + 1) for stage in range(len(network.channels)))]
    paths = [path for stage in network.stage_paths.values() for path in stage]
    assert len(paths) == len(set(paths))
    maps = network.feature_maps(meta_images(name))
    expected: set[str] = set()
    stages = iter(network.stage_paths.values())
    expected |= parameters_below(network, next(stages))
    for each, stage in zip(maps, stages, strict=True):
        assert stage
        expected |= parameters_below(network, stage)
        gradients = torch.autograd.grad(each.sum(), list(network.parameters()), retain_graph=True, allow_unused=True)
        reached = {key for (key, _), gradient in zip(network.named_parameters(), gradients, strict=True) if gradient is not None}
        assert reached == expected


def parameters_below(network: nn.Module, paths: tuple[str, ...]) -> set[str]:
    return {f"{path}.{key}" for path in paths for key, _ in network.get_submodule(path).named_parameters()}


@pytest.mark.parametrize("name", REAL)
@torch.no_grad()
def test_the_head_reads_what_embed_returns(name: str) -> None:
    """A head that is a convolution reads a map, of which the embedding is the mean."""
    network, images = trained_a_little(name)
    seen: list[Tensor] = []
    hook = network.get_submodule(network.head_path).register_forward_hook(lambda _, inputs, out: seen.extend((inputs[0], out)))
    logits = network(images)
    hook.remove()
    assert torch.equal(network.forward_with_aux(images)[0], logits)
    read, out = seen
    if read.dim() == 2:
        assert torch.equal(read, network.embed(images))
        assert torch.equal(logits, out)
    else:
        torch.testing.assert_close(network.embed(images), read.mean((2, 3)))


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_reset_head(name: str) -> None:
    network = on_meta(name).double().eval()
    before = dict(network.named_parameters())
    network.reset_head(3)
    logits, auxiliary = network.forward_with_aux(meta_images(name).double())
    for each in (logits, *auxiliary):
        assert (each.shape, each.dtype, each.device.type) == ((2, 3), torch.float64, "meta")
    for key, parameter in network.named_parameters():
        assert (parameter is before[key]) != (key.rpartition(".")[0] in last_layers(network)), key
        assert parameter.requires_grad
    assert not any(module.training for module in network.modules())
    with pytest.raises(ValueError, match="at least 1"):
        network.reset_head(0)


@pytest.mark.parametrize("name", REAL)
def test_a_reset_head_starts_as_the_first_one_did(name: str) -> None:
    """Drawn anew by the same rule, it has the same spread."""
    network, _ = real(name, num_classes=400)
    weights = {f"{path}.weight" for path in last_layers(network)} & {key for key, _ in network.named_parameters()}
    first = {key: network.get_parameter(key).detach() for key in weights}
    network.reset_head(400)
    for key in weights:
        again = network.get_parameter(key).detach()
        assert not torch.equal(again, first[key])
        # The spread of n draws is known within 1 / sqrt(2 n), n being over 25,000: 0.0045; over ten times that.
        assert float(again.std() / first[key].std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("name", REAL)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    network, images = real(name)
    for parameter in network.parameters():  # a residual branch whose last scale starts at 0 hides what is before it
        if parameter.count_nonzero() == 0:
            nn.init.constant_(parameter, 0.1)
    logits, auxiliary = without_chance(network.train()).forward_with_aux(images)
    labels = torch.tensor([0, 1, 2, 3])
    loss = sum((network.aux_weight * nn.functional.cross_entropy(each, labels) for each in auxiliary), logits.new_zeros(()))
    loss = loss + nn.functional.cross_entropy(logits, labels)
    keys, parameters = zip(*network.named_parameters(), strict=True)
    for key, gradient in zip(keys, torch.autograd.grad(loss, parameters), strict=True):
        assert gradient.isfinite().all(), key
        assert gradient.count_nonzero() > 0, key


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_same_output_in_train_and_eval_mode(name: str) -> None:
    network = on_meta(name)
    assert (network.aux_weight > 0) == bool(network.aux_head_paths)
    wanted = (2, zoo.MODELS[name].num_classes)
    for mode in (True, False):
        output = network.train(mode)(meta_images(name))
        assert (type(output), output.shape) == (Tensor, wanted)
        if network.aux_head_paths:
            logits, auxiliary = network.forward_with_aux(meta_images(name))
            assert (type(auxiliary), [each.shape for each in (logits, *auxiliary)]) == (
                tuple,
                [wanted] * len(last_layers(network)),
            )


@pytest.mark.parametrize("name", REAL)
def test_a_saved_state_dict_restores_the_outputs(name: str) -> None:
    network, images = trained_a_little(name)
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other = real(name)[0].eval()
    nn.init.normal_(next(other.parameters()))
    with torch.no_grad():
        assert not torch.equal(other(images), network(images))
        other.load_state_dict(torch.load(file, weights_only=True))
        assert torch.equal(other(images), network(images))


@pytest.mark.parametrize("name", REAL)
def test_weights_bring_a_meta_network_to_life(name: str) -> None:
    """Nothing a network needs is missing from its state dict."""
    network, images = trained_a_little(name)
    other = on_meta(name, num_classes=7).eval()
    other.load_state_dict(network.state_dict(), assign=True)
    with torch.no_grad():
        assert torch.equal(other(images), network(images))


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_the_exported_graph_equals_the_network(name: str) -> None:
    network, images = trained_a_little(name)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},)).module()
    with torch.no_grad():
        for part in (images, images[:1]):
            assert torch.equal(program(part), network(part))


@pytest.mark.parametrize("name", NAMES)
def test_no_contract_name_is_a_submodule(name: str) -> None:
    contract = {*Network.__annotations__, *FixedSizeNetwork.__dict__, *Network.__dict__, "in_channels", "input_size"}
    assert not contract & {child for child, _ in on_meta(name).named_children()}


@pytest.mark.parametrize("name", [name for name, variant in zoo.MODELS.items() if variant.fixed_size])
def test_a_fixed_size_network_names_the_size_it_expects(name: str) -> None:
    variant = zoo.MODELS[name]
    channels, height, width = variant.in_channels, *variant.input_size
    other = (height + 8, width + 18)
    images = torch.empty(2, channels + 2, *other, device="meta")
    told = (
        f"reads images of {channels} x {height} x {width} (",
        f"but got {channels + 2} x {other[0]} x {other[1]}",
        f"in_channels={channels + 2}, input_size={other}",
    )
    with pytest.raises(ValueError, match=".*".join(map(re.escape, told))):
        on_meta(name)(images)
    assert on_meta(name, in_channels=channels + 2, input_size=other)(images).shape == (2, variant.num_classes)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_min_size_is_the_least(name: str) -> None:
    """It works (swept above); a pixel less in either direction is refused, and rightly."""
    variant = zoo.MODELS[name]
    for axis in (0, 1):
        size = (variant.min_size[0] - (axis == 0), variant.min_size[1] - (axis == 1))
        if min(size) < 1:
            continue
        with pytest.raises(UsageError, match=f"at least {variant.min_size[0]} x {variant.min_size[1]}"):
            zoo.build(name, input_size=size)
        if variant.fixed_size:
            with pytest.raises(DoesNotFit):
                variant.build(7, variant.in_channels, input_size=size, **variant.arguments)
        else:
            with pytest.raises((RuntimeError, ValueError)):
                on_meta(name).train().forward_with_aux(meta_images(name, size=size))


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_built_without_a_single_number_on_the_meta_device(name: str) -> None:
    network = on_meta(name)
    assert {tensor.device.type for tensor in (*network.parameters(), *network.buffers())} == {"meta"}


@pytest.mark.parametrize("name", NAMES)
def test_the_record_agrees_with_itself(name: str) -> None:
    variant = zoo.MODELS[name]
    assert variant.name == name
    assert len(variant.mean) == len(variant.std) == variant.in_channels
    assert variant.fixed_size == issubclass(type(on_meta(name)), FixedSizeNetwork)
    assert variant.paper
    assert 1980 < variant.year < 2030


def test_every_variant_of_every_file_is_in_the_zoo_once() -> None:
    files = [importlib.import_module(f"striate.models.{module.name}") for module in pkgutil.iter_modules(models.__path__)]
    names = [variant.name for file in files for variant in getattr(file, "VARIANTS", ())]
    assert sorted(names) == sorted(zoo.MODELS)


@pytest.fixture(scope="module")
def cifar_test(shared_data: Path) -> tuple[Tensor, Tensor]:
    """400 test images (every 25th), normalised, and their classes in alphabetical order."""
    variant = zoo.MODELS["resnet20_cifar"]
    mean, std = (torch.tensor(values)[:, None, None] for values in (variant.mean, variant.std))
    images, folders = [], []
    for member, data in every_25th_test_file(shared_data / "cifar10_jpg" / "cifar10_jpg.tar.xz"):
        with Image.open(io.BytesIO(data)) as image:
            images.append(np.asarray(image.convert("RGB")))
        folders.append(Path(member).parent.name)
    classes = sorted(set(folders))
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2) / 255
    return (pixels - mean) / std, torch.tensor([classes.index(folder) for folder in folders])


def every_25th_test_file(archive: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(archive) as tar:
        tests = (member for member in tar if member.isfile() and "test" in Path(member.name).parts)
        for number, member in enumerate(tests):
            content = tar.extractfile(member)
            if number % 25 == 0 and content is not None:
                yield member.name, content.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"), [("resnet20_cifar", "resnet20-12fca82f.th"), ("resnet56_cifar", "resnet56-4bfd9763.th")]
)
def test_published_cifar_weights(name: str, file: str, shared_data: Path, cifar_test: tuple[Tensor, Tensor]) -> None:
    """They load strictly and score as published; 0.75 is three standard errors below the 0.81 of all 10,000 images."""
    with pytest.warns(UserWarning, match="took off the dictionary 'state_dict' and the prefix 'module.'"):
        network = zoo.build(name, weights=shared_data / "weights" / "cifar10_resnets" / file).eval()
    images, labels = cifar_test
    assert len(labels) == 400
    with torch.no_grad():
        accuracy = (network(images).argmax(1) == labels).float().mean()
    assert accuracy > 0.75
