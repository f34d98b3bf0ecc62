"""One request in its three forms: what to hand to `client.post`, for the test client and for a real one."""

import base64
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.tiny import drawing, png

PICTURES = {"bar": 3, "cross": 2, "ring": 1}


@dataclass(frozen=True, slots=True)
class Task:
    """Labelled images and queries, in the order in which they are sent. Sorted by label: a zip is read in that order."""

    support: Sequence[tuple[str, bytes]] = ()
    queries: Sequence[bytes] = ()


SUPPORT = tuple((shape, png(drawing(shape, width=2 + n))) for shape, count in PICTURES.items() for n in range(count))
QUERIES = tuple(png(drawing(shape, width=5)) for shape in ("ring", "bar", "cross"))
ANSWERS = ["ring", "bar", "cross"]

LEARN = Task(SUPPORT)
ASK = Task(queries=QUERIES)
BOTH = Task(SUPPORT, QUERIES)


def as_json(task: Task, **options: Any) -> dict[str, Any]:
    """JSON with base64; options are members."""
    body: dict[str, Any] = dict(options)
    if task.support:
        body["support"] = [{"image": encoded(image), "label": label} for label, image in task.support]
    if task.queries:
        body["queries"] = [{"image": encoded(image)} for image in task.queries]
    return {"json": body}


def as_multipart(task: Task, **options: Any) -> dict[str, Any]:
    """Files, and labels in the same order; options are fields."""
    files = [("images", ("image.png", image)) for _, image in task.support] + [("queries", ("query.png", image)) for image in task.queries]
    labels = {"labels": [label for label, _ in task.support]} if task.support else {}
    return {"files": files, "data": {**labels, **{name: str(value) for name, value in options.items()}}}


def as_zip(task: Task, **options: Any) -> dict[str, Any]:
    """A folder of images per class, beside a folder of queries; options stand in the query string."""
    top = "support/" if task.queries else ""
    files = {f"{top}{label}/{n:03}.png": image for n, (label, image) in enumerate(task.support)}
    files |= {f"queries/{n:03}.png": image for n, image in enumerate(task.queries)}
    return zip_body(zipped(files), **options)


FORMS: Mapping[str, Callable[..., dict[str, Any]]] = {"multipart": as_multipart, "zip": as_zip, "json": as_json}


def encoded(image: bytes) -> str:
    return base64.b64encode(image).decode()


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these files; a name that ends with a slash is a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_body(content: bytes, **options: Any) -> dict[str, Any]:
    return {"content": content, "headers": {"Content-Type": "application/zip"}, "params": options}


def raw(content: Any, content_type: str = "application/json") -> dict[str, Any]:
    """A body just as it is given."""
    return {"content": content, "headers": {"Content-Type": content_type}}
