"""The command that opens the studio. What does the work is imported inside."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from striate.cli.parameters import Arch


def studio(
    *paths: str,
    port: Annotated[int | None, Parameter(validator=Number(gte=0, lte=65535))] = None,
    browser: bool = True,
    arch: Arch = None,
) -> None:
    """Open the studio: a local page to look into networks, to train, and to compare runs.

    It listens on 127.0.0.1 alone, sends nothing anywhere, and looks at nothing but what it was given here, the folder runs and
    the data that come with striate. Trainings begun on the page go on when it ends.

    Args:
        paths: Runs, folders of runs, model files, and data: a folder, a .csv or .npz file, or scheme:path.
        port: To listen on. Without it: 8731, or any free one; 0: any free one.
        browser: Open the page in a browser.
        arch: FILE.py:FUNCTION, for models and runs whose network is your own; a network by name, for other tools' files.
    """
    from striate.architecture_file import is_architecture_file, load_architecture
    from striate.studio.opened import Opened
    from striate.studio.running import serve
    from striate.studio.studio import Studio

    if arch is not None and is_architecture_file(arch):
        load_architecture(arch)  # what is wrong with it is said here, not on the page
    serve(Studio(Opened.from_paths(paths), arch=arch), port, browser, lambda text: print(text, flush=True))
