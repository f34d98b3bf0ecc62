"""The servers that benchmarks/serving.py compares: how each is started, and what its requests look like."""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from benchmarks.drawings import Drawn, Question
from benchmarks.load import Asked, post

OURS, PLAIN, LOOP, BATCHED, FLOOR = "ours", "plain FastAPI", "LitServe, per-request loop", "LitServe, our batched maths", "no model"
THREADS = (1, 2)
BOUNDARY = "----------------drawings"

# Sessions must outlast the run, and all of them must fit; no other side keeps them on a disk (benchmarks/sessions.py does).
ROOM = {"SESSION_TTL_SECONDS": "86400", "STORE": "memory", "HOST_BYTES": str(64 * 2**30), "ARENA_BYTES": str(4 * 2**30)}

SESSION = rb'"session":\s*"([^"]+)"'
LABEL = rb'"label":\s*"([^"]+)"'

Form = Literal["json", "multipart"]


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to start a server."""

    name: str
    command: tuple[str, ...]
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Side:
    """A server: its variants, and where its requests go; with one path for everything, a body names its session."""

    name: str
    variants: Sequence[Variant]
    ready: str
    create_path: str
    predict_path: str

    def create(self, model: str, drawn: Drawn, form: Form = "json") -> Asked:
        """Give the request that adapts to a task."""
        if form == "multipart":
            parts = [part for label, content in drawn.support for part in (("labels", label.encode()), ("images", content))]
            return Asked(_multipart(self.create_path, [("model", model.encode()), *parts]))
        support = [{"image": _text(content), "label": label} for label, content in drawn.support]
        return Asked(post(self.create_path, json.dumps({"model": model, "support": support}).encode()))

    def predict(self, session: str, question: Question, form: Form = "json") -> Asked:
        """Give the request that asks a session one question."""
        path, expected = self.predict_path.format(session=session), question.expected.encode()
        if form == "multipart":
            return Asked(_multipart(path, [("queries", question.content), ("top_k", b"1")]), expected)
        named = {"session": session} if path == self.predict_path else {}
        body = {**named, "queries": [{"image": _text(question.content)}], "top_k": 1}
        return Asked(post(path, json.dumps(body).encode()), expected)


def ours(model_store: Path, data_dir: Path, device: str) -> Side:
    """Give `innerloop serve` of this environment."""
    program = str(Path(sys.executable).with_name("innerloop"))
    command = (
        program,
        "serve",
        "--port",
        "{port}",
        "--model-store",
        str(model_store),
        "--data-dir",
        str(data_dir),
        "--device",
        _numbered(device),
    )
    variants = [
        Variant(
            f"{_threads(count)}, cores pinned: {pinned}",
            command,
            {f"INNERLOOP_{name}": value for name, value in {**ROOM, "TORCH_THREADS": str(count), "PIN_CORES": pinned}.items()},
        )
        for count, pinned in ((1, "one"), (1, "split"), (1, "none"), (2, "none"))
    ]
    # Two processes can share sessions only in a file: what they make is durable, as no other side's is.
    shared = {**ROOM, "TORCH_THREADS": "1", "PIN_CORES": "one", "STORE": "sqlite", "STORE_BYTES": str(64 * 2**30), "WORKERS": "2"}
    variants.append(Variant("2 workers, sessions on disk", command, {f"INNERLOOP_{name}": value for name, value in shared.items()}))
    return Side(OURS, variants, "/readyz", "/v1/sessions", "/v1/sessions/{session}/predict")


def plain(model_store: Path, model: str, device: str) -> Side:
    """Give a page of FastAPI, in this environment."""
    variants = [
        _peer(sys.executable, "plain_fastapi", model, model_store, options=("--handlers", handlers, "--device", device), threads=count)
        for count in THREADS
        for handlers in ("def", "async")
    ]
    return Side(PLAIN, variants, "/health", "/sessions", "/sessions/{session}/predict")


def litserve(python: Path, model_store: Path, model: str, device: str) -> list[Side]:
    """Give LitServe twice, in its own environment."""
    return [
        Side(
            name,
            [
                each
                for count in THREADS
                for each in _queues(python, module, model, model_store, options=("--device", device), threads=count)
            ],
            "/health",
            *paths,
        )
        for name, module in ((LOOP, "litserve_loop"), (BATCHED, "litserve_batched"))
        for paths in [("/predict", "/predict")]
    ]


def no_model() -> Side:
    """Give the floor, in this environment."""
    command = (sys.executable, "-m", "benchmarks.peers.no_model", "{port}")
    return Side(FLOOR, [Variant("as it is", command)], "/health", "/sessions", "/sessions/{session}/predict")


def litserve_version(python: Path) -> tuple[str | None, str]:
    """Give the version that an environment holds, or none and the reason."""
    script = "import litserve, torch; print(litserve.__version__)"
    try:
        told = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)  # noqa: S603 - the peer's environment
    except OSError as error:
        return None, f"no environment of its own ({error.strerror}); see benchmarks/peers/serving-requirements.txt"
    except subprocess.CalledProcessError as error:
        return None, error.stderr.strip().rpartition("\n")[2]
    return told.stdout.strip(), ""


def _queues(python: Path, module: str, model: str, model_store: Path, *, options: Sequence[str], threads: int) -> list[Variant]:
    """Give LitServe over its usual queue and over ZeroMQ, waiting a little and longer for company: without a wait it spins."""
    return [
        _peer(str(python), module, model, model_store, options=(*options, "--wait-ms", wait, *queue), threads=threads)
        for wait in ("1", "5")
        for queue in ((), ("--fast-queue",))
    ]


def _peer(python: str, module: str, model: str, model_store: Path, *, options: Sequence[str], threads: int) -> Variant:
    command = (python, "-m", f"benchmarks.peers.{module}", model, str(model_store), "{port}", "--threads", str(threads), *options)
    return Variant(" ".join((_threads(threads), *options)), command, {"OMP_NUM_THREADS": str(threads)})


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _numbered(device: str) -> str:
    return "cuda:0" if device == "cuda" else device


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _multipart(path: str, parts: Sequence[tuple[str, bytes]]) -> bytes:
    body = b"".join(_part(name, content) for name, content in parts) + f"--{BOUNDARY}--\r\n".encode()
    return post(path, body, f"multipart/form-data; boundary={BOUNDARY}")


def _part(name: str, content: bytes) -> bytes:
    """Write one part; images are files."""
    file = '; filename="drawing.png"\r\nContent-Type: image/png' if name in ("images", "queries") else ""
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode() + content + b"\r\n"
