"""What a server needs of its machine, checked one by one; what is imported late may itself be what is missing."""

import asyncio
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Literal

from structlog.testing import capture_logs

from innerloop.client import Client
from innerloop.errors import InnerloopError
from innerloop.retries import Retries
from service.cli.listening import bound
from service.config import Settings
from service.errors import AddressError, DataDirectoryError, ServiceError
from service.runtime.data_dir import exclusive

OLDEST_PYTHON = (3, 11)
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and how it is.

    Attributes:
        state: `note` is worth knowing, `broken` keeps a server from starting or serving.
    """

    what: str
    state: Literal["ok", "note", "broken"]
    detail: str


Check = Callable[[Settings], Iterator[Finding]]


def findings(settings: Settings, *, failed: Mapping[str, str] = MappingProxyType({})) -> Iterator[Finding]:
    """Look at everything but what has `failed` already; a check that fails on purpose is a finding, and the others go on."""
    for what, check in CHECKS.items():
        try:
            if what in failed:
                yield Finding(what, "broken", failed[what])
            else:
                yield from check(settings)
        except ServiceError as error:
            yield Finding(what, "broken", error.message)
        except OSError as error:
            yield Finding(what, "broken", str(error))


def python(_: Settings) -> Iterator[Finding]:
    """Is Python new enough."""
    old = sys.version_info < OLDEST_PYTHON
    wanted = f"; Innerloop needs {'.'.join(map(str, OLDEST_PYTHON))} or newer, make the environment anew with one" if old else ""
    yield Finding("python", "broken" if old else "ok", platform.python_version() + wanted)


def torch(settings: Settings) -> Iterator[Finding]:
    """Can PyTorch be imported, and compute on the device that is set."""
    try:
        import torch

        from service.runtime.device import choose_device
    except (ImportError, OSError) as error:  # OSError: a shared library that cannot be loaded
        yield Finding("torch", "broken", f"cannot be imported ({error}); pip install 'innerloop[service]'")
        return
    yield Finding("torch", "ok", str(torch.__version__))
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    missing = "this PyTorch is built without CUDA" if torch.version.cuda is None else "no CUDA device, or no driver for it"
    yield Finding(
        "cuda", "ok" if names else "note", f"{names} (CUDA {torch.version.cuda})" if names else f"{missing}: computing on the CPU"
    )
    device = choose_device(settings.device)
    try:
        torch.ones(2, device=device).sum().item()
    except RuntimeError as error:
        yield Finding("device", "broken", f"{device} cannot compute ({str(error).splitlines()[0]}); see its driver, or use --device cpu")
        return
    yield Finding("device", "ok", f"{device}, {os.cpu_count()} cores")


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Can the data directory be written to, and is it free."""
    folder = settings.data_dir
    if not folder.exists():
        obstacle = _obstacle(folder)
        detail = f"{folder} cannot be made: {obstacle}; give another with --data-dir" if obstacle else f"{folder} will be made"
        yield Finding("data directory", "broken" if obstacle else "ok", detail)
        return
    try:
        with exclusive(folder):
            yield Finding("data directory", "ok", f"{folder} is writable")
    except DataDirectoryError as error:
        # Writable all the same: a server that runs has it.
        yield Finding("data directory", "note" if os.access(folder, os.W_OK) and folder.is_dir() else "broken", error.message)


def _obstacle(folder: Path) -> str | None:
    """Why the folder cannot be made, if so: one beside it is made and removed, for permissions alone do not tell."""
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        with TemporaryDirectory(prefix=".innerloop-doctor-", dir=there):
            return None
    except OSError as error:
        return f"{there} cannot be written to ({error.strerror})"


def session_store(settings: Settings) -> Iterator[Finding]:
    """Can the session store be opened, and does it answer."""
    kind = settings.store.partition(":")[0]
    file = settings.data_dir / "sessions.sqlite3"
    if kind == "sqlite" and not settings.data_dir.exists() and _obstacle(settings.data_dir):
        yield Finding("session store", "broken", f"sqlite: {file} cannot be made without the data directory")
    elif kind == "sqlite" and not file.exists():
        yield Finding("session store", "ok", f"sqlite: {file} will be made")
    elif kind == "sqlite":
        try:
            with exclusive(settings.data_dir):  # no server has it open
                yield from _answering(
                    settings, f"sqlite: {file}, {file.stat().st_size / 2**20:,.1f} MiB of {settings.store_bytes / 2**20:,.0f}"
                )
        except DataDirectoryError:
            yield Finding("session store", "note", f"sqlite: {file} is in use, and was not looked into")
    elif kind == "memory":
        yield Finding("session store", "note", "memory: sessions end with the server")
    else:
        yield from _answering(settings, kind)


def _answering(settings: Settings, detail: str) -> Iterator[Finding]:
    from service.api.app import store_of

    async def ask() -> None:
        async with store_of(settings) as store:
            await store.check()

    with capture_logs() as said:  # a line of the log beside the table would say it twice
        try:
            asyncio.run(ask())
        except ServiceError as error:
            yield Finding("session store", "broken", f"{error.message}; name another with --store")
            return
    yield Finding("session store", "ok", f"{detail}, answers")
    for line in said:
        if "risk" in line:
            yield Finding("session store", "note", f"{line['setting']} is {line['found']}, expected {line['wanted']}: {line['risk']}")


def model_store(settings: Settings) -> Iterator[Finding]:
    """Is every meta-model of the store what its manifest says."""
    try:
        from service.registry.read import read, versions
    except (ImportError, OSError) as error:
        yield Finding("model store", "broken", f"cannot be read without {error}")
        return
    store = settings.model_store
    folders = versions(store) if store.is_dir() else []
    if not folders:
        found = "no meta-model in it" if store.is_dir() else "no folder there"
        yield Finding("model store", "broken", f"{store}: {found}; name another with --model-store, or train one")
    for folder in folders:
        yield _verified(folder, read)
    names = {folder.parent.name for folder in folders}
    if len(names) > 1 and settings.default_model not in names:
        yield Finding("model store", "note", f"no meta-model {settings.default_model!r}: requests must name theirs, or set default_model")


def _verified(folder: Path, read: Callable[[Path], object]) -> Finding:
    reference = f"{folder.parent.name}@{folder.name}"
    try:
        read(folder)
    except ServiceError as error:
        return Finding("model store", "broken", f"{reference} would be refused: {error.message}")
    return Finding("model store", "ok", f"{reference} is verified")


def port(settings: Settings) -> Iterator[Finding]:
    """Can the address be listened on, or is it a server of ours that has it."""
    address = f"{settings.host}:{settings.port}"
    try:
        for each in asyncio.run(bound([(settings.host, settings.port)])):
            each.close()
    except AddressError as error:
        answering = _version_at(f"http://{address}")
        if answering is None:
            yield Finding("port", "broken", error.message)
        else:
            yield Finding("port", "note", f"an Innerloop server {answering} answers at {address} already")
        return
    yield Finding("port", "ok", f"{address} is free")


def _version_at(url: str) -> str | None:
    try:
        with Client(url, timeout=_ANSWER_SECONDS, retries=Retries(tries=1)) as client:
            return client.info().version
    except InnerloopError:
        return None


CHECKS: dict[str, Check] = {
    "python": python,
    "device": torch,
    "data directory": data_directory,
    "session store": session_store,
    "model store": model_store,
    "port": port,
}
