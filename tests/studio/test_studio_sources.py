"""The page's sources: their own checks, and the rules of the house."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from studio_running import WEB

from tools.studio_page import node_and_npm

SOURCES = [path for path in (WEB / "src").rglob("*") if path.suffix in (".svelte", ".ts", ".css")]


def test_every_file_can_be_read_at_a_sitting() -> None:
    assert len(SOURCES) > 30
    lengths = {str(path.relative_to(WEB)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {path: length for path, length in lengths.items() if length > 300} == {}


def test_packages_are_pinned_and_no_host_is_named() -> None:
    package = json.loads((WEB / "package.json").read_text())
    assert "dependencies" not in package  # what is shipped is compiled: nothing is needed where it runs
    assert [version for version in package["devDependencies"].values() if not re.fullmatch(r"\d+\.\d+\.\d+", version)] == []
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    assert [name for name, entry in lock.items() if "resolved" in entry] == []
    assert {
        name for name in package["devDependencies"] if lock[f"node_modules/{name}"]["version"] != package["devDependencies"][name]
    } == set()
    assert [name for name, entry in lock.items() if name and not entry.get("integrity") and not entry.get("inBundle")] == []


def test_nothing_is_asked_of_anybody_else() -> None:
    named = {
        (path.name, host)
        for path in [*SOURCES, WEB / "index.html"]
        if not path.name.endswith(".test.ts")
        for host in re.findall(r"https?://([\w.-]+)", path.read_text())
    }
    # An address that is shown, to be copied.
    assert {host for _, host in named} <= {"www.w3.org", "127.0.0.1"}


@pytest.mark.slow
@pytest.mark.parametrize("check", ["check", "test", "lint"])
def test_its_own_checks(check: str) -> None:
    tools = node_and_npm()
    if tools is None or not (WEB / "node_modules" / "vite").exists():
        pytest.skip("needs Node.js and the page's packages (make web)")
    done = subprocess.run([*tools[1], "run", "--silent", check], cwd=WEB, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
