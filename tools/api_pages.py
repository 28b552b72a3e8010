"""Writes the pages of the API from the sources' docstrings, and one of the command line from its help.

    python tools/api_pages.py docs/api

Every public module, class, function and constant with a docstring is on its page; they are parsed, not imported.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import striate
from striate.cli.app import COMMANDS

PACKAGE = Path(__file__).resolve().parents[1] / "striate"
SECTIONS = ("Args", "Returns", "Raises", "Attributes", "Yields")


def main(folder: Path) -> None:
    """Writes ``index.md``, ``cli.md`` and a page a module into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    index = ["# API", "", "The command line is in [cli](cli.md). These names are in `striate` itself:", ""]
    index += [f"- `striate.{name}` from [{home}]({home}.md)" for name, home in sorted(striate._HOMES.items())]
    index += ["", "Every module:", ""]
    for path in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if name.rpartition(".")[2].startswith("_") or not ast.get_docstring(tree):
            continue
        (folder / f"{name}.md").write_text("\n".join(module_page(name, tree)) + "\n", encoding="utf-8")
        index.append(f"- [{name}]({name}.md): {first_sentence(ast.get_docstring(tree) or '')}")
    (folder / "index.md").write_text("\n".join(index) + "\n", encoding="utf-8")
    (folder / "cli.md").write_text("\n".join(cli_page()) + "\n", encoding="utf-8")


def module_page(name: str, tree: ast.Module) -> Iterator[str]:
    """The lines of a module's page."""
    yield from [f"# {name}", "", *prose(ast.get_docstring(tree) or ""), ""]
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and is_shown(node):
            yield from described(node, 2)
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and is_shown(method):
                        yield from described(method, 3, f"{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and (text := documented(after)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if not ast.unparse(target).startswith("_"):
                yield from [f"## `{ast.unparse(node)}`", "", *prose(text), ""]


def is_shown(node: ast.ClassDef | ast.FunctionDef) -> bool:
    """Public, and documented."""
    return not node.name.startswith("_") and ast.get_docstring(node) is not None


def documented(after: ast.stmt | None) -> str | None:
    """The text of a string that stands alone, as the docstring of the constant above it."""
    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
        return after.value.value
    return None


def described(node: ast.ClassDef | ast.FunctionDef, level: int, prefix: str = "") -> Iterator[str]:
    """Heading, signature and docstring of a class or function."""
    yield from [f"{'#' * level} {prefix}{node.name}", "", "```python", signature(node), "```", ""]
    yield from [*prose(ast.get_docstring(node) or ""), ""]


def signature(node: ast.ClassDef | ast.FunctionDef) -> str:
    """As in the source; a class shows its bases and annotated fields."""
    if isinstance(node, ast.FunctionDef):
        decorators = [f"@{ast.unparse(decorator)}" for decorator in node.decorator_list if ast.unparse(decorator) == "property"]
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        line = f"def {node.name}({ast.unparse(node.args)}){returns}"
        if len(line) > 100:
            arguments = ast.unparse(node.args)
            pieces = re.split(r", (?![^\[({]*[\])}])", arguments)
            line = f"def {node.name}(\n    " + ",\n    ".join(pieces) + f",\n){returns}"
        return "\n".join([*decorators, line])
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    fields = [f"    {ast.unparse(item)}" for item in node.body if isinstance(item, ast.AnnAssign)]
    return "\n".join([f"class {node.name}({bases})" if bases else f"class {node.name}", *fields])


def prose(docstring: str) -> Iterator[str]:
    """A docstring as Markdown: roles become plain code, sections of arguments become lists."""
    text = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", docstring.strip()).replace("``", "`")
    in_section = False
    for line in text.splitlines():
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            in_section = True
            yield from ["", f"**{line.rstrip(':')}**", ""]
        elif in_section and re.match(r" {4}\S", line):
            name, colon, rest = line.strip().partition(": ")
            yield f"- `{name}`: {rest}" if colon and "`" not in name else f"- {line.strip()}"
        else:
            in_section = in_section and (not line or line.startswith(" "))
            yield line.strip() if in_section else line


def first_sentence(docstring: str) -> str:
    """What a module is, in a line."""
    return " ".join(prose(docstring.partition("\n\n")[0])).partition(". ")[0].rstrip(".")


def cli_page() -> Iterator[str]:
    """The help of every command."""
    yield from ["# The command line", ""]
    for words in [[], *([command.__name__] for command in COMMANDS)]:
        done = subprocess.run([sys.executable, "-m", "striate", *words, "--help"], capture_output=True, text=True, check=True)
        yield from [f"## {' '.join(['striate', *words])}", "", "```", done.stdout.rstrip(), "```", ""]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
