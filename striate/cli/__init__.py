"""The command ``striate``: parses, calls, prints. No logic, and no torch until a command needs it."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from striate.errors import StriateError

INTERNAL_ERROR = 5
BROKEN_PIPE = 141
"""128 + SIGPIPE: what a shell reports of a program whose reader went away."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command line (``sys.argv`` by default) and returns its exit status."""
    tokens = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in tokens
    tokens = [token for token in tokens if token != "--debug"]
    try:
        from striate.cli.app import run

        with warnings.catch_warnings():
            # Pillow's remarks on damaged files: such a file is a named error of ours, or its picture is whole.
            warnings.filterwarnings("ignore", module=r"PIL\.")
            status = run(tokens)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except KeyboardInterrupt:
        _print_error("interrupted")
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, StriateError):
            _print_error(str(error))
            return error.exit_code
        hint = "" if debug else "\n  do:    run it again with --debug for the traceback"
        _print_error(f"{type(error).__name__}: {error}{hint}")
        return INTERNAL_ERROR


def _print_error(text: str) -> None:
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    print(f"\x1b[1;31merror:\x1b[0m {text}" if coloured else f"error: {text}", file=sys.stderr)
