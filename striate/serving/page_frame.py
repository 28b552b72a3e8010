"""The page to drop images on: the same whether a server answers or the browser itself."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

PAGES = Path(__file__).parent / "page"


def framed(script: str, data: str = "") -> str:
    """The page, with what answers in it: one of the scripts beside it, after the elements that hold its data."""
    text = (PAGES / script).read_text()
    return (PAGES / "frame.html").read_text().replace("<!-- SCRIPT -->", f"{data}<script>\n{text}</script>")


def served_policy(html: str) -> str:
    """The Content-Security-Policy of a served page: its own script and style, its own server, nothing else."""
    allowed = {tag: " ".join(_hashes(html, tag)) for tag in ("script", "style")}
    sources = f"script-src {allowed['script']}; style-src {allowed['style']}; img-src blob: data:; connect-src 'self'"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hashes(html: str, tag: str) -> list[str]:
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
