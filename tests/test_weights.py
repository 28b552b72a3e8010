"""Weights of every tool, against arithmetic that knows nothing of ours: nothing executed, dropped or laid out wrongly."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_files import Layers, write_caffe, write_keras
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from striate import weights, zoo
from striate.data.imagenet import class_names
from striate.errors import Refused, StriateError, UsageError
from striate.models.foreign import ForeignNames
from striate.models.variant import Network
from striate.prediction import load
from striate.pretrained import convert, read_pretrained
from striate.weight_files.state_dicts import read_state_dict
from striate.weights import FOREIGN, load_state, load_weights

SIDE = 9


class Tiny(Network):
    """A convolution without bias, a batch norm, a depthwise convolution, and a dense layer on the flattened map."""

    channels, strides, stage_paths, head_path, embedding_dim = (6,), (1,), {"stem": (), "1": ("conv", "norm")}, "fc", 6 * 25

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.depthwise, self.fc = nn.Conv2d(6, 6, 3, groups=6), nn.Linear(6 * 25, 4)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        return [self.depthwise(torch.relu(self.norm(self.conv(x))))]

    def embed(self, x: Tensor) -> Tensor:
        return self.feature_maps(x)[-1].flatten(1)


@pytest.fixture
def tiny_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny's layers are called otherwise, and epsilon is another."""
    names = {"conv": "c1", "depthwise": "c2/dw", "fc": "ip"}
    order = ("conv", "norm", "depthwise", "fc")
    for framework, norm, more in (
        ("caffe", "c1/bn c1/scale", {}),
        ("keras", "c1_bn", {"flattened": {"fc": (6, 5, 5)}, "norm_eps": 1e-3}),
    ):
        layers = {path: {**names, "norm": norm}[path] for path in order}
        monkeypatch.setitem(FOREIGN[framework], "Tiny", ForeignNames(layers, bgr=True, **more))  # type: ignore[index, arg-type]


def drawn(*shape: int, low: float = -1.0) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).uniform(low, 1, shape).astype(np.float32)


def windows(x: NDArray[Any], axes: tuple[int, int]) -> NDArray[Any]:
    return np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (3, 3), axis=axes)


KERAS: Layers = {
    "c1": [drawn(3, 3, 3, 6), drawn(6)],  # a bias that Tiny has no place for
    "c1_bn": [drawn(6), drawn(6), drawn(6), drawn(6, low=0.5)],
    "c2/dw": [drawn(3, 3, 6, 1), drawn(6)],
    "ip": [drawn(150, 4), drawn(4)],
}


def keras_arithmetic(bgr: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, H, W, C] -> [N, 4], channels last throughout, as Keras computes it."""
    (kernel, bias), (gamma, beta, mean, variance), (depthwise, bias_2), (dense, bias_3) = KERAS.values()
    x = np.einsum("nyxchw,hwco->nyxo", windows(bgr, (1, 2)), kernel) + bias
    x = np.maximum(gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta, 0)
    x = np.einsum("nyxchw,hwc->nyxc", windows(x, (1, 2)), depthwise[..., 0]) + bias_2
    result: NDArray[np.float64] = x.reshape(len(x), -1) @ dense + bias_3
    return result


CAFFE: Layers = {
    "c1": [drawn(6, 3, 3, 3)],
    "c1/bn": [2 * drawn(6), 2 * drawn(6, low=0.5), np.array([2], np.float32)],  # sums, and over how much they run
    "c1/scale": [drawn(6), drawn(6)],
    "c2/dw": [drawn(6, 1, 3, 3), drawn(6)],
    "ip": [drawn(4, 150), drawn(4)],
}


def caffe_arithmetic(bgr: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N, C, H, W] -> [N, 4], as Caffe computes it."""
    (kernel,), (mean, variance, factor), (gamma, beta), (depthwise, bias_2), (dense, bias_3) = CAFFE.values()

    def each(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values[:, None, None]

    x = np.einsum("ncyxhw,ochw->noyx", windows(bgr, (2, 3)), kernel)
    x = each(gamma) * (x - each(mean / factor)) / np.sqrt(each(variance / factor) + 1e-5) + each(beta)
    x = np.einsum("ncyxhw,chw->ncyx", windows(np.maximum(x, 0), (2, 3)), depthwise[:, 0]) + each(bias_2)
    result: NDArray[np.float64] = x.reshape(len(x), -1) @ dense.T + bias_3
    return result


def check_tiny(path: Path, expected: NDArray[np.float64]) -> None:
    """float32 against float64: sums of 150 products of up to about 10, so an error of 1e-3 would be a hundred times theirs."""
    network = Tiny().eval()
    load_weights(network, path)
    with torch.no_grad():
        got = network(torch.from_numpy(PICTURES)).numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(got, expected, atol=1e-3)


PICTURES = drawn(2, 3, SIDE, SIDE)
"""[N, C, H, W], RGB."""


@pytest.mark.usefixtures("tiny_names")
@pytest.mark.parametrize("file", ["old.h5", "new.weights.h5", "new.keras"])
@pytest.mark.parametrize("names", [True, False])
def test_keras_files_mean_what_keras_computes(file: str, names: bool, tmp_path: Path) -> None:
    path = write_keras(tmp_path / file, KERAS, names=names)
    if file == "new.weights.h5" and not names:  # as the first versions of Keras 3 wrote them
        with pytest.raises(Refused, match=r"does not say which layer it is: save the model as \.keras"):
            load_weights(Tiny(), path)
        return
    check_tiny(path, keras_arithmetic(PICTURES[:, ::-1].transpose(0, 2, 3, 1)))


@pytest.mark.usefixtures("tiny_names")
@pytest.mark.parametrize("form", [{}, {"old": True}, {"packed": False}, {"double": True}, {"double": True, "packed": False}])
def test_caffe_files_mean_what_caffe_computes(form: dict[str, bool], tmp_path: Path) -> None:
    check_tiny(write_caffe(tmp_path / "net.caffemodel", CAFFE, **form), caffe_arithmetic(PICTURES[:, ::-1]))


@pytest.mark.usefixtures("tiny_names")
def test_layers_unknown_missing_or_of_another_shape_are_named(tmp_path: Path) -> None:
    layers = {**CAFFE, "extra": [drawn(2, 3)], "c2/dw": [drawn(6, 1, 5, 5), drawn(6)]}
    del layers["c1"]
    network = Tiny()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(Refused) as error:
        load_weights(network, write_caffe(tmp_path / "net.caffemodel", layers))
    for line in (
        "3 tensors differ",
        "conv.weight: file has none, network (6, 3, 3, 3)",
        "depthwise.weight: file (6, 1, 5, 5), network (6, 1, 3, 3)",
        "extra[0]: file (2, 3), network has none",
    ):
        assert line in str(error.value)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.usefixtures("tiny_names")
@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ({**CAFFE, "c1/bn": [drawn(6)]}, "the layer 'c1/bn c1/scale' is no BatchNorm2d"),
        ({**CAFFE, "ip": [drawn(4, 150), drawn(4), drawn(4)]}, "the layer 'ip' is no Linear"),
    ],
)
def test_a_layer_of_another_kind_is_refused(layers: Layers, what: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=what):
        load_weights(Tiny(), write_caffe(tmp_path / "net.caffemodel", layers))


@pytest.mark.usefixtures("tiny_names")
def test_a_bias_that_no_batch_norm_takes_in_is_not_dropped(tmp_path: Path) -> None:
    """The norm is not in the file, so the bias in front of it has no place."""
    layers = {name: arrays for name, arrays in KERAS.items() if name != "c1_bn"}
    with pytest.raises(Refused, match=r"conv\.bias: file \(6,\), network has none"):
        load_weights(Tiny(), write_keras(tmp_path / "net.h5", layers))


@pytest.mark.usefixtures("tiny_names")
@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("net.caffemodel", b'name: "AlexNet"\nlayer { name: "data" }\n'),
        ("net.caffemodel", b""),
        ("net.caffemodel", b"\xff" * 64),
        ("net.h5", b"no HDF5"),
        ("net.keras", b"no zip"),
        ("net.keras", b""),
    ],
)
def test_what_is_no_such_file_is_refused(file: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / file).write_bytes(content)
    with pytest.raises(Refused, match=file):
        load_weights(Tiny(), tmp_path / file)


@pytest.mark.usefixtures("tiny_names")
def test_a_caffe_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    content = write_caffe(tmp_path / "net.caffemodel", CAFFE).read_bytes()
    for length in range(1, len(content), 97):
        (tmp_path / "cut.caffemodel").write_bytes(content[:length])
        with pytest.raises(StriateError):
            load_weights(Tiny(), tmp_path / "cut.caffemodel")


def test_a_network_without_names_says_which_have_some(tmp_path: Path) -> None:
    path = write_caffe(tmp_path / "net.caffemodel", CAFFE)
    with pytest.raises(UsageError, match=r"no Caffe names for resnet18[\s\S]*can be read: alexnet_caffe, googlenet_2014, vgg16"):
        zoo.build("resnet18", weights=path)


@pytest.mark.usefixtures("tiny_names")
def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "net.h5").write_bytes(b"")
    with pytest.raises(UsageError, match=r"striate\[keras\]"):
        load_weights(Tiny(), tmp_path / "net.h5")


OFFERED = [(framework, name) for framework, names in FOREIGN.items() for name in names]


@pytest.mark.parametrize(("framework", "name"), OFFERED)
def test_every_layer_has_one_name(framework: Any, name: str) -> None:
    with torch.device("meta"):
        network = zoo.build(name)
    names = FOREIGN[framework][name].layers
    weighted = [path for path, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    assert sorted(names) == sorted(weighted)
    sources = [source for layer in names.values() for source in layer.split()]
    assert len(set(sources)) == len(sources)
    assert isinstance(network.get_submodule(next(iter(names))), nn.Conv2d)
    assert network.get_submodule(next(iter(names))).in_channels == 3


def as_file(network: nn.Module, names: ForeignNames, framework: str) -> Layers:
    """The layers of ``network`` as the framework keeps them; convolutions of Keras get a bias of 0.5 in front of a norm."""
    layers: dict[str, list[NDArray[Any]]] = {}
    for path, source in names.layers.items():
        module: Any = network.get_submodule(path)
        tensors = {name: tensor.detach().numpy().astype(np.float64) for name, tensor in module.state_dict().items()}
        if isinstance(module, nn.BatchNorm2d):
            gamma, beta, mean, variance = (tensors[name] for name in ("weight", "bias", "running_mean", "running_var"))
            variance = variance + module.eps - names.norm_eps
            if framework == "caffe":
                norm, scale = source.split()
                layers[norm], layers[scale] = [mean * 4, variance * 4, np.array([4.0])], [gamma, beta]
            else:
                layers[source] = [gamma, beta, mean + 0.5, variance]
            continue
        weight = tensors["weight"]
        if names.bgr and path == next(iter(names.layers)):
            weight = weight[:, ::-1]
        if framework == "keras":
            if path in names.flattened:
                weight = weight.reshape(-1, *names.flattened[path]).transpose(0, 2, 3, 1).reshape(len(weight), -1)
            depthwise = isinstance(module, nn.Conv2d) and module.groups > 1
            weight = weight.T if weight.ndim == 2 else weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(2, 3, 1, 0)
        bias = [tensors["bias"]] if "bias" in tensors else [np.full(len(tensors["weight"]), 0.5)] if framework == "keras" else []
        layers[source] = [weight, *bias]
    return layers


def drawn_network(name: str, seed: int) -> Network:
    """Every tensor drawn, running variances above 0.5, so that no two could change places unseen; dense layers of 4096 have 8."""
    with torch.device("meta"):
        network = zoo.build(name)
        for path, module in list(network.named_modules()):
            if isinstance(module, nn.Linear) and 4096 in (module.in_features, module.out_features):
                parent, _, last = path.rpartition(".")
                sizes = [8 if size == 4096 else size for size in (module.in_features, module.out_features)]
                setattr(network.get_submodule(parent), last, nn.Linear(*sizes))
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                tensor.zero_()
                continue
            tensor.uniform_(-1, 1, generator=generator)
            if key.endswith("running_var"):
                tensor.abs_().add_(0.5)
    return network


@pytest.mark.parametrize(
    ("framework", "name"),
    [pytest.param(f, n, marks=() if n == "mobilenet_v1" else pytest.mark.slow) for f, n in OFFERED],
)
def test_a_network_comes_back_from_the_file(framework: Any, name: str, tmp_path: Path) -> None:
    """Every name and layout of the map; the files that are published could not be had, and are untested."""
    network, loaded = drawn_network(name, 1), drawn_network(name, 2)
    names = FOREIGN[framework][name]
    layers = {
        layer: [array.astype(np.float32) for array in arrays] for layer, arrays in as_file(network, names, framework).items()
    }
    path = write_caffe(tmp_path / "net.caffemodel", layers) if framework == "caffe" else write_keras(tmp_path / "net.h5", layers)
    if names.differs:
        with pytest.warns(UserWarning, match=names.differs):
            load_weights(loaded, path, name)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_weights(loaded, path, name)
    for key, value in network.state_dict().items():
        # Numbers within +-2 were rounded to float32 at most three times on their way.
        torch.testing.assert_close(loaded.state_dict()[key], value, rtol=0, atol=4 * 2.0**-23, msg=key)


def test_old_names_of_densenet_are_brought_up_to_date(tmp_path: Path) -> None:
    state = drawn_network("densenet121", 1).state_dict()
    old = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2."): v
        for name, v in state.items()
        if not name.endswith("num_batches_tracked")  # from before PyTorch 0.4.1
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121.pth")
    loaded = zoo.build("densenet121", weights=tmp_path / "densenet121.pth")
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_auxiliary_heads_for_other_classes_are_replaced_too_and_named() -> None:
    own = zoo.build("googlenet", num_classes=7)
    fresh = {path: own.get_parameter(f"{path}.weight").clone() for path in ("fc", "aux1.fc2", "aux2.fc2")}
    published = {name: torch.ones_like(tensor) for name, tensor in own.state_dict().items()}
    for path in fresh:
        published |= {f"{path}.weight": torch.ones(1000, 1024), f"{path}.bias": torch.ones(1000)}
    with pytest.warns(
        UserWarning, match=r"has 1000 classes and the network 7: its heads \(fc, aux1.fc2, aux2.fc2\) were left out"
    ):
        load_state(own, published, "googlenet.pth")
    assert all(torch.equal(own.get_parameter(f"{path}.weight"), weight) for path, weight in fresh.items())
    assert own.get_parameter("aux1.fc1.weight").eq(1).all()


# Whole models


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """resnet20_cifar as other tools save it: a bare state dict."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(zoo.build("resnet20_cifar").state_dict(), path)
    return path


def test_a_converted_file_is_a_model_of_ours_and_a_plain_state_dict(small: Path, tmp_path: Path) -> None:
    model = load(convert(small, "resnet20_cifar", tmp_path / "deep" / "model.safetensors"))
    variant = zoo.MODELS["resnet20_cifar"]
    assert model.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert (model.preprocess.size, model.preprocess.mean) == ((32, 32), variant.mean)
    plain = load_file(tmp_path / "deep" / "model.safetensors")
    state = torch.load(small)
    assert plain.keys() == state.keys()
    assert all(torch.equal(plain[name], value) for name, value in state.items())
    picture = drawn(3, 32, 32, 3) * 127 + 128
    given = [load("resnet20_cifar", weights=small), load(small, arch="resnet20_cifar")]
    given.append(load(tmp_path / "deep", arch="resnet20_cifar"))
    answers = [each.predict(list(picture.astype(np.uint8))) for each in (model, *given)]
    assert all(answer == answers[0] for answer in answers)


def test_the_number_of_classes_is_the_files(tmp_path: Path) -> None:
    save_file(zoo.build("resnet20_cifar", num_classes=3).state_dict(), tmp_path / "w.safetensors")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load("resnet20_cifar", weights=tmp_path / "w.safetensors")
    assert model.classes == ("0", "1", "2")


def test_preprocessing_is_that_of_the_files_network(tmp_path: Path) -> None:
    """Caffe's mean colour and scale for a Caffe file; ImageNet's names for its thousand classes."""
    names = FOREIGN["caffe"]["mobilenet_v1"]
    layers = as_file(drawn_network("mobilenet_v1", 1), names, "caffe")
    with pytest.warns(UserWarning, match="ReLU6"):
        card, _, _ = read_pretrained("mobilenet_v1", write_caffe(tmp_path / "net.caffemodel", layers))
    assert tuple(card["preprocess"]["mean"]) == names.mean
    assert tuple(card["preprocess"]["std"]) == names.std
    assert tuple(card["classes"]) == class_names()


def test_loading_leaves_the_callers_random_numbers(small: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    read_pretrained("resnet20_cifar", small)
    assert torch.equal(torch.get_rng_state(), before)


Ended = Callable[..., Any]


def test_convert_and_predict_on_the_command_line(small: Path, tmp_path: Path, striate_command: Ended) -> None:
    torch.save({"state_dict": torch.load(small), "epoch": 3}, tmp_path / "wrapped.th")
    out = tmp_path / "model.safetensors"
    ended = striate_command("convert", tmp_path / "wrapped.th", "--arch", "resnet20_cifar", "-o", out)
    assert (ended.status, ended.out) == (0, f"{out}\n")
    assert "took off the dictionary 'state_dict'" in " ".join(ended.err.split())
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    lines = [
        striate_command("predict", *words, "--top", 2)
        for words in (
            (out, tmp_path / "grey.png"),
            (small, tmp_path / "grey.png", "--arch", "resnet20_cifar"),
            ("resnet20_cifar", tmp_path / "grey.png", "--weights", small),
        )
    ]
    assert {(ended.status, ended.out) for ended in lines} == {(0, lines[0].out)}
    assert "grey.png: " in lines[0].out


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("predict", "resnet20_cifar", "x.png"), 2, "resnet20_cifar is a network without weights"),
        (("predict", "resnet20cifar", "x.png", "--weights", "{small}"), 2, "Did you mean 'resnet20_cifar'?"),
        (("predict", "resnet20_cifar", "x.png", "--weights", "nowhere.pth"), 2, "there is no such weight file"),
        (("predict", "resnet20_cifar", "x.png", "--weights", "{small}", "--arch", "resnet18"), 2, "two networks for them"),
        (("predict", "{small}", "x.png", "--arch", "resnet32_cifar"), 3, "layer1.3.bn1.bias: file has none, network (16,)"),
        (("convert", "{small}", "--arch", "lenet5"), 3, "the weights do not fit LeNet5"),
        (("convert", "imagenet", "--arch", "lenet5"), 2, "no published weights are known for lenet5"),
    ],
)
def test_what_does_not_go_is_said(words: tuple[str, ...], status: int, said: str, small: Path, striate_command: Ended) -> None:
    ended = striate_command(*(word.format(small=small) for word in words))
    assert ended.status == status
    assert said in ended.err


def test_a_model_of_ours_is_no_other_network(small: Path, tmp_path: Path) -> None:
    convert(small, "resnet20_cifar", tmp_path / "model.safetensors")
    with pytest.raises(Refused, match="The model is a resnet20_cifar, not a resnet32_cifar"):
        load(tmp_path / "model.safetensors", arch="resnet32_cifar")


def test_every_renamer_leaves_todays_names_alone() -> None:
    for network, rename in weights.RENAMERS.items():
        name = next(name for name, variant in zoo.MODELS.items() if variant.build is network)
        with torch.device("meta"):
            state = zoo.build(name).state_dict()
        assert rename(state).keys() == state.keys()


@pytest.mark.parametrize("seed", range(8))
def test_any_foreign_bytes_are_refused_in_words(tmp_path: Path, seed: int) -> None:
    """Random bytes, and a true file with some of its own changed, under each name that PyTorch files have."""
    draw = np.random.default_rng(seed)
    torch.save({"weight": torch.ones(3)}, tmp_path / "true.pth", _use_new_zipfile_serialization=bool(seed % 2))
    true = bytearray((tmp_path / "true.pth").read_bytes())
    for place in draw.integers(0, len(true), 20):
        true[place] = draw.integers(256)
    noise = bytes(draw.bytes(50))
    for content in (b"abc", b"", noise, b"\x80\x02" + noise, bytes(true), bytes(true[: len(true) // 2])):
        (tmp_path / "file.pth").write_bytes(content)
        with contextlib.suppress(Refused), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read_state_dict(tmp_path / "file.pth")
