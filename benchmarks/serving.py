"""How close does `striate serve` come to what the machine can do, what does it do under ten times its load, and LitServe?

    python -m benchmarks.serving MODEL PHOTOS --out runs/bench

MODEL is any that `striate serve` takes by its file, PHOTOS a folder of JPEGs. In each round, one after the other: the network
alone, decoding alone, the server with ready tensors (eight and one a body) and with JPEGs (as they are and in base64), and
LitServe with the same model, whose bodies are JSON. Ratios are formed within a round; the median over rounds is told. At the
end ten times the load of JPEGs.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_servers import Server, Setting, litserve_server, metrics, striate_server
from benchmarks.side_by_side import ROOT, describe_machine
from striate import machine
from striate.columns import align, ruled
from striate.files import make_folder, write_json
from striate.prediction import load

TENSORS_A_BODY = 8
OVERLOAD = 10
"""Times the load that the server can take."""

BOUNDS = {"tensors": "network", "single tensors": "network", "jpegs": "both", "jpegs in base64": "both"}
BOUNDS |= {"LitServe, single tensors in base64": "network", "LitServe, jpegs in base64": "both"}
"""What is asked -> which ceiling it has."""


def part(name: str, job: dict[str, Any]) -> dict[str, Any]:
    """Runs one of :mod:`benchmarks.serving_parts` in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.serving_parts", name, json.dumps(job)]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def load_on(server: Server, setting: Setting, kind: str, **more: Any) -> dict[str, Any]:
    """The generator's figures for bodies of one ``kind``."""
    types = {"tensors": "application/x-npy", "single tensors": "application/x-npy", "jpegs": "image/jpeg"}
    job = {
        "host": "127.0.0.1",
        "port": server.port,
        "path": server.path,
        "headers": {"Content-Type": types.get(kind, "application/json")},
        "bodies": str(setting.bodies / kind),
        "images": TENSORS_A_BODY if kind == "tensors" else 1,
        "connections": setting.connections // (TENSORS_A_BODY // 2) if kind == "tensors" else setting.connections,
        "rate": None,
        "seconds": setting.seconds,
        "warm": min(5.0, setting.seconds / 3),
    }
    result = part("load", {**job, **more})
    result["generator_share"] = result["cpu_seconds"] / result["wall_seconds"] / machine.num_cores()
    return result


def write_bodies(setting: Setting) -> None:
    """Every request's body as a file, once: the generator must not spend time on them."""
    photos = sorted(path for path in Path(setting.photos).rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))[:500]
    if not photos:
        raise SystemExit(f"no JPEGs in {setting.photos}")
    preprocess = load(setting.model).preprocess
    shape = (preprocess.channels, *preprocess.size)
    for kind in ("tensors", "single tensors", "single tensors in base64", "jpegs", "jpegs in base64"):
        make_folder(setting.bodies / kind)
    for number, photo in enumerate(photos):
        data = photo.read_bytes()
        (setting.bodies / "jpegs" / f"{number:04}").write_bytes(data)
        (setting.bodies / "jpegs in base64" / f"{number:04}").write_bytes(_json(data))
    choose = np.random.default_rng(0)
    for number in range(16):
        tensors = choose.integers(0, 256, (TENSORS_A_BODY, *shape), dtype=np.uint8)
        (setting.bodies / "tensors" / f"{number:02}").write_bytes(_npy(tensors))
        (setting.bodies / "single tensors" / f"{number:02}").write_bytes(_npy(tensors[:1]))
        (setting.bodies / "single tensors in base64" / f"{number:02}").write_bytes(_json(_npy(tensors[:1])))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def _json(data: bytes) -> bytes:
    return json.dumps({"image": base64.b64encode(data).decode()}).encode()


def run_round(setting: Setting, peer: bool) -> dict[str, Any]:
    """One of everything, in turn."""
    jpegs = str(setting.bodies / "jpegs")
    result = {
        "raw": part("raw", {"model": setting.model, "batch": setting.max_batch, "seconds": setting.seconds}),
        "decode": part("decode", {"model": setting.model, "bodies": jpegs, "seconds": setting.seconds}),
    }
    with striate_server(setting) as server:
        for kind in ("tensors", "single tensors", "jpegs", "jpegs in base64"):
            result[kind] = load_on(server, setting, kind)
    if peer:
        with litserve_server(setting) as server:
            for kind in ("single tensors in base64", "jpegs in base64"):
                result[f"LitServe, {kind}"] = load_on(server, setting, kind)
    return result


def overload(setting: Setting, rounds: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Ten times the JPEGs a second that the rounds had, for ``seconds``.

    The bound on p99 is (queue bound / max-batch + 2) x batch time + delay. The batch time is that of decoding and the network
    on the same cores, as the ceilings of this run have it: what the network took meanwhile would excuse itself.
    """
    capacity = statistics.median(reading["jpegs"]["images_a_second"] for reading in rounds)
    batch_s = setting.max_batch / statistics.median(ceiling(reading, "both") for reading in rounds)
    with striate_server(setting) as server:
        load_on(server, setting, "jpegs", seconds=2.0)
        before, memory = metrics(server), list[float]()
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(1.0):
                memory.append(metrics(server)["process_resident_memory_bytes"])

        watching = threading.Thread(target=watch)
        watching.start()
        result = load_on(server, setting, "jpegs", rate=OVERLOAD * capacity, connections=600, seconds=seconds, warm=0.0)
        stopped.set()
        watching.join()
        after = metrics(server)

    def grown(name: str) -> float:
        return after[name] - before[name]

    num_batches = grown('striate_batch_seconds_count{model="m"}')
    result |= {
        "rate": OVERLOAD * capacity,
        "batch_seconds": batch_s,
        "bound": (setting.max_queue / setting.max_batch + 2) * batch_s + setting.delay_ms / 1000,
        "network_seconds": grown('striate_batch_seconds_sum{model="m"}') / num_batches,
        "network_images": grown('striate_batch_images_sum{model="m"}') / num_batches,
        "decoded": grown('striate_decode_seconds_count{model="m"}'),
        "memory": memory,
    }
    return result


def ceiling(reading: dict[str, Any], bound: str) -> float:
    """Images a second: of the ``network`` alone, or of decoding and the network on the same cores (``both``)."""
    network, decoding = float(reading["raw"]["images_a_second"]), float(reading["decode"]["images_a_second"])
    return network if bound == "network" else 1 / (1 / network + 1 / decoding)


def tell(record: dict[str, Any]) -> None:
    """The tables: medians over the rounds."""
    rounds = record["rounds"]

    def middle(name: str, figure: str) -> float:
        return statistics.median(float(reading[name][figure]) for reading in rounds)

    rows = [["", "images/s", "of its ceiling", "p50", "p99", "generator's CPU"]]
    rows += [
        [told, f"{middle(name, 'images_a_second'):.0f}"]
        for name, told in (("raw", "network alone"), ("decode", "decoding alone"))
    ]
    for name, bound in BOUNDS.items():
        if name in rounds[0]:
            share = statistics.median(reading[name]["images_a_second"] / ceiling(reading, bound) for reading in rounds)
            row = [name, f"{middle(name, 'images_a_second'):.0f}", f"{share:.2f}"]
            row += [f"{1000 * middle(name, figure):.0f} ms" for figure in ("p50", "p99")]
            rows.append([*row, f"{100 * middle(name, 'generator_share'):.0f} %"])
    print("\n".join(ruled(align(rows, right=(1, 2, 3, 4, 5)))))
    print("\nwanted: 0.85 of the network alone for tensors, 0.90 of 1/(1/decode + 1/network) for jpegs")
    if over := record.get("overload"):
        tell_overload(over)


def tell_overload(over: dict[str, Any]) -> None:
    """What ten times the load did."""
    half = len(over["memory"]) // 2
    growth = max(over["memory"][half:]) - max(over["memory"][:half]) if half else float("nan")
    print(f"\nat {over['rate']:.0f} requests a second, {OVERLOAD} times the load, answers by status: {over['statuses']}")
    print(f"not sent, for no connection was free: {over['unsent']}; sent late by up to {over['late']:.2f} s")
    wanted = f"wanted: at most {over['bound']:.3f} s, a batch taking {over['batch_seconds']:.3f} s"
    print(f"p99 of those accepted: {over['p99']:.3f} s; {wanted}")
    print(f"the network's batches: {over['network_images']:.0f} images in {over['network_seconds']:.3f} s on average")
    print(f"decoded: {over['decoded']:.0f} pictures; memory grew by {growth / 1e6:.1f} MB in the second half")


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("photos")
    parser.add_argument("--max-batch", type=int, default=32)
    parser.add_argument("--max-delay-ms", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--overload-seconds", type=float, default=60.0, help="0: leave it out")
    parser.add_argument("--no-peer", action="store_true", help="leave LitServe out")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, batch = str(Path(given.model).absolute()), given.max_batch
        setting = Setting(model, given.photos, Path(folder), batch, 4 * batch, given.max_delay_ms, given.seconds)
        write_bodies(setting)
        record: dict[str, Any] = {"machine": describe_machine(), "model": given.model, "rounds": []}
        path = make_folder(given.out) / f"serving-{Path(given.model).stem}.json"
        for number in range(given.rounds):
            record["rounds"].append(run_round(setting, not given.no_peer))
            write_json(path, record)
            print(f"round {number + 1} of {given.rounds}", file=sys.stderr, flush=True)
        if given.overload_seconds:
            record["overload"] = overload(setting, record["rounds"], given.overload_seconds)
            write_json(path, record)
    tell(record)


if __name__ == "__main__":
    main()
