"""How a command line becomes a call: the commands, and what is done with words that they do not take."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cyclopts import App, CycloptsError, UnusedCliTokensError

import striate
from striate.cli.arithmetic_commands import filter, shape
from striate.cli.export_commands import export
from striate.cli.look_commands import look
from striate.cli.model_commands import convert, doctor, evaluate, predict
from striate.cli.retrieval_commands import embed, search
from striate.cli.run_commands import check, report, resume, runs, train
from striate.cli.serve_commands import serve
from striate.cli.studio_commands import studio
from striate.cli.transfer_commands import transfer
from striate.cli.zoo_commands import summary, zoo
from striate.errors import UsageError

COMMANDS: tuple[Callable[..., int | None], ...] = (
    check,
    train,
    transfer,
    resume,
    evaluate,
    predict,
    convert,
    export,
    serve,
    embed,
    search,
    look,
    runs,
    report,
    zoo,
    summary,
    shape,
    filter,
    studio,
    doctor,
)

FOR_ALL = "Every command takes --debug: the traceback of an error."

app = App(
    name="striate",
    help="Convolutional networks: from a folder of images to a trained, measured, deployable model.",
    help_format="plaintext",
    help_epilogue=FOR_ALL,
    version=striate.__version__,
)
for position, command in enumerate(COMMANDS):
    app.command(command, sort_key=position)


def run(tokens: Sequence[str]) -> int:
    """Runs one command line and returns its exit status.

    Raises:
        UsageError: words that the command does not take.
    """
    tokens = list(tokens)
    fields: dict[str, str] = {}
    if tokens[:1] in (["train"], ["transfer"], ["check"]):
        from striate.cli.options import describe_fields, take_fields

        name, own = tokens[0], _options(tokens[0])
        group = "augment." if name == "check" else ""
        rest, fields = take_fields(tokens[1:], own, group)
        app[name].help_epilogue = f"{describe_fields(own, group)}\n\n{FOR_ALL}"
        tokens = [name, *rest]
    elif tokens[:1] == ["predict"] and any(token.startswith("-") for token in tokens):
        from striate.cli.options import refuse_unknown

        refuse_unknown(tokens[1:], _options("predict"))
    try:
        call, bound, unparsed = app.parse_args(tokens, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        what = f"Unexpected: {' '.join(error.unused_tokens or ())}" if isinstance(error, UnusedCliTokensError) else str(error)
        raise UsageError(what, fix=" ".join(["striate", *(error.command_chain or ()), "--help"])) from error
    status: int | None = call(*bound.args, **bound.kwargs, **({"fields": fields} if "fields" in unparsed else {}))
    return status or 0


def _options(command: str) -> set[str]:
    """The options of a command, with their dashes."""
    return {"--help", "-h", *(name for argument in app[command].assemble_argument_collection() for name in argument.names)}
