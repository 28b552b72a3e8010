"""One process a run: what a second one is told, and that nothing stays locked by the dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from striate.errors import Refused
from striate.locking import LOCK_FILE, is_locked, locked

HOLDER = """
import sys, time
from pathlib import Path
from striate.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def hold(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_refused_by_name_and_a_killed_one_gives_its_lock_back(tmp_path: Path) -> None:
    process = hold(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(Refused, match="being trained right now") as caught, locked(tmp_path):
        pass
    assert str(process.pid) in str(caught.value.why)
    process.kill()
    process.wait()
    assert (tmp_path / LOCK_FILE).exists(), "it had no time to tidy up"
    assert not is_locked(tmp_path)
    with locked(tmp_path):
        assert is_locked(tmp_path)


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), locked(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "nowhere")


def test_one_process_holds_a_folder_once(tmp_path: Path) -> None:
    with locked(tmp_path):
        with pytest.raises(Refused), locked(tmp_path):
            pass
        assert is_locked(tmp_path)
