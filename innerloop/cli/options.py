"""The arguments and options that several commands of the client half take."""

from pathlib import Path
from typing import Annotated

import typer

from innerloop.address import VARIABLE, address_of
from innerloop.cli.completion import model_names, session_ids
from innerloop.errors import ServerUnreachableError
from innerloop.wire import MOST_NEAREST


def _address(url: str) -> str:
    try:
        return address_of(url)
    except ServerUnreachableError as error:
        raise typer.BadParameter(str(error)) from error


# Eager: what completes a session asks this server.
Url = Annotated[str, typer.Option("--url", envvar=VARIABLE, is_eager=True, callback=_address, help="Address of the server.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SessionId = Annotated[str, typer.Argument(metavar="SESSION", autocompletion=session_ids, help="The id that adapt printed.")]
Model = Annotated[
    str | None,
    typer.Option(autocompletion=model_names, help="Meta-model, name or name@version; the server's default when absent."),
]
Folder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="A folder with one folder of images per class, a zip of it, or a CSV or TSV file with a column `label`."
    ),
]
Images = Annotated[
    list[Path], typer.Argument(metavar="IMAGES", help="Image files to classify, folders or zips of them, or CSV or TSV files.")
]
TopK = Annotated[int, typer.Option(min=1, help="How many labels to show for each input.")]
Nearest = Annotated[
    int, typer.Option(min=0, max=MOST_NEAREST, help="How many examples to show that each input is nearest to, where they are kept.")
]
Name = Annotated[str | None, typer.Option(help="What to call the session.")]
Lifetime = Annotated[float | None, typer.Option("--ttl-seconds", help="Lifetime in seconds; the server's default when absent.")]
KeepSupport = Annotated[
    bool | None,
    typer.Option("--keep-support/--no-keep-support", help="Keep the support set, so that examples can be added or removed."),
]
Revision = Annotated[int | None, typer.Option(help="Which revision of the session; its newest when absent.")]
