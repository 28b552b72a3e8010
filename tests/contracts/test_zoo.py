"""Building by name, loading weights, counting: what the zoo does, and what it says where it cannot."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from striate import zoo
from striate.errors import Refused, StriateError, UsageError
from striate.sealed import write_sealed
from striate.weights import load_weights


def state(name: str = "lenet5", **arguments: Any) -> dict[str, Tensor]:
    return zoo.build(name, **arguments).state_dict()


def same(network: nn.Module, tensors: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, tensors[key]) for key, value in network.state_dict().items())


def test_what_is_not_given_is_the_variants_own() -> None:
    network = zoo.build("lenet5")
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
    assert zoo.build("lenet5", 3, 2, 40)(torch.zeros(1, 2, 40, 40)).shape == (1, 3)


def test_the_lectures_first_network_is_an_mlp() -> None:
    network = zoo.build("mlp", num_classes=26, input_size=(16, 16))
    assert [tuple(p.shape) for p in network.parameters()] == [(100, 256), (100,), (26, 100), (26,)]


@pytest.mark.parametrize(
    ("arguments", "what", "fix"),
    [
        ({"name": "resnet_18"}, "there is no network 'resnet_18'", "Did you mean 'resnet18'?"),
        ({"name": "lenet5", "num_classes": 0}, "lenet5 cannot have 0 classes and 1 input channels", None),
        ({"name": "lenet5", "in_channels": 0}, "lenet5 cannot have 10 classes and 0 input channels", None),
        ({"name": "lenet5", "input_size": 28}, "it needs at least 32 x 32", "its own size is 32 x 32"),
        ({"name": "lenet5", "input_size": (0, 32)}, "input_size is (0, 32); it must be at least 1", None),
        ({"name": "lenet5", "weights": "imagenet"}, "no published weights are known for lenet5", "weight file"),
        ({"name": "lenet5", "weights": "imagenet-v2"}, "no published weights are known for lenet5", None),
        ({"name": "lenet5", "weights": "nowhere.pt"}, "there is no such weight file", "path of a .safetensors, .pt or .pth"),
    ],
)
def test_a_usage_error_says_what_and_what_to_do(arguments: dict[str, Any], what: str, fix: str | None) -> None:
    with pytest.raises(UsageError) as error:
        zoo.build(**arguments)
    assert what in str(error.value)
    assert fix is None or fix in str(error.value)


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], object]] = {
    "weights.safetensors": save_file,
    "weights.pt": torch.save,
    "legacy.pth": lambda tensors, path: torch.save(tensors, path, _use_new_zipfile_serialization=False),
    "model.safetensors": lambda tensors, path: write_sealed(path, tensors, {"format": "striate"}),
}


@pytest.mark.parametrize("file", WRITERS)
def test_a_state_dict_loads_as_it_is(file: str, tmp_path: Path) -> None:
    tensors = state()
    WRITERS[file](tensors, tmp_path / file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(zoo.build("lenet5", weights=tmp_path / file), tensors)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrappers_are_taken_off_and_told(wrapper: str, tmp_path: Path) -> None:
    tensors = state()
    torch.save({wrapper: {f"module.{key}": value for key, value in tensors.items()}, "epoch": 3}, tmp_path / "w.pt")
    with pytest.warns(UserWarning, match=f"w.pt: took off the dictionary '{wrapper}' and the prefix 'module.'"):
        network = zoo.build("lenet5", weights=tmp_path / "w.pt")
    assert same(network, tensors)


def test_another_number_of_classes_replaces_the_head_and_says_so(tmp_path: Path) -> None:
    tensors = state("resnet20_cifar")
    save_file(tensors, tmp_path / "w.safetensors")
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match=r"has 10 classes and the network 7: its head \(linear\) was left out"):
        network = zoo.build("resnet20_cifar", num_classes=7, weights=tmp_path / "w.safetensors")
    assert all(torch.equal(v, tensors[k]) for k, v in network.state_dict().items() if not k.startswith("linear."))
    torch.manual_seed(1)
    fresh = zoo.build("resnet20_cifar", num_classes=7)
    assert torch.equal(network.get_parameter("linear.weight"), fresh.get_parameter("linear.weight"))


def test_files_without_batch_counters_load_and_count_from_0(tmp_path: Path) -> None:
    tensors = {key: value for key, value in state("resnet20_cifar").items() if not key.endswith("num_batches_tracked")}
    save_file(tensors, tmp_path / "w.safetensors")
    network = zoo.build("resnet20_cifar", weights=tmp_path / "w.safetensors")
    assert network.get_buffer("bn1.num_batches_tracked") == 0
    assert same(network, {**network.state_dict(), **tensors})


def test_every_tensor_that_does_not_fit_is_named_with_both_shapes(tmp_path: Path) -> None:
    tensors = state(in_channels=3)
    tensors["c7.weight"] = tensors.pop("c5.bias").clone()
    save_file(tensors, tmp_path / "w.safetensors")
    network = zoo.build("lenet5")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(Refused) as error:
        load_weights(network, tmp_path / "w.safetensors")
    message = str(error.value)
    assert "the weights do not fit LeNet5: 3 tensors differ" in message
    for line in (
        "c1.weight: file (6, 3, 5, 5), network (6, 1, 5, 5)",
        "c5.bias: file has none, network (120,)",
        "c7.weight: file (120,), network has none",
    ):
        assert line in message
    assert same(network, before)  # nothing was loaded in part


class Harmful:
    """A pickle that would run code where it is loaded."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return (open, ("executed",))


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("pickle.pt", Harmful(), "the file holds more than tensors, or no PyTorch data at all; nothing of it was executed"),
        ("text.pt", b"not a zip file", "nothing of it was executed"),
        ("empty.pt", b"", "not a readable PyTorch file"),
        ("cut.pt", None, "not a readable PyTorch file"),
        ("text.safetensors", b"\xff" * 64, "not a readable safetensors file"),
        ("empty.safetensors", b"", "not a readable safetensors file"),
        ("list.pt", [1, 2], "found list"),
        ("numbers.pt", {"epoch": 3, "lr": 0.1}, "found keys epoch, lr"),
        ("nothing.pt", {}, "the file holds no state dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(
    file: str, content: Any, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is None:
        torch.save(state(), file)
        Path(file).write_bytes(Path(file).read_bytes()[:-100])
    elif isinstance(content, bytes):
        Path(file).write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(Refused) as error:
        zoo.build("lenet5", weights=file)
    assert what in str(error.value)
    assert file in str(error.value)
    assert not Path("executed").exists()


def test_a_flipped_bit_in_a_file_of_ours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_sealed(path, state(), {"format": "striate"})
    content = bytearray(path.read_bytes())
    header = struct.unpack("<Q", content[:8])[0]
    content[8 + header + 1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(StriateError):
        zoo.build("lenet5", weights=path)


def test_describe_a_module_as_its_name() -> None:
    network = zoo.build("resnet20_cifar").train()
    frozen = network.get_submodule("layer1.0.bn1").eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert zoo.describe(network, (32, 32), 3) == zoo.describe("resnet20_cifar")
    assert [module for module in network.modules() if not module.training] == [frozen]
    assert same(network, before)
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(UsageError, match="give describe\\(\\) its input_size and in_channels"):
        zoo.describe(network)


def test_describe_scales_with_the_image() -> None:
    """Every map of a network whose convolutions all pad is four times as large; its head is not."""
    head = 512 * 1000
    small, large = zoo.describe("resnet18"), zoo.describe("resnet18", (448, 448))
    assert large.macs - head == 4 * (small.macs - head)
    assert large.parameters == small.parameters


class Mixed(nn.Module):
    """A dense layer over a sequence of positions, and a layer that no formula covers."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(3, 5)
        self.recurrent = nn.LSTM(5, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.recurrent(self.dense(x.flatten(2).transpose(1, 2)))[0]
        return out


def test_describe_says_what_it_could_not_count() -> None:
    described = zoo.describe(Mixed(), (4, 6), 3)
    assert described.macs == 4 * 6 * 3 * 5
    assert described.uncounted == ("LSTM",)
    assert described.parameters == sum(p.numel() for p in Mixed().parameters())
