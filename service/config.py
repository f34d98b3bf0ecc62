"""The server's settings: from the environment, then the command line; read once, then frozen."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Every setting, as INNERLOOP_<NAME> in the environment; the defaults run on a laptop."""

    model_config = SettingsConfigDict(env_prefix="INNERLOOP_", frozen=True, extra="forbid")

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    data_dir: Path = Field(default=Path("data"), description="folder for the server's own files; one server at a time")
    model_store: Path = Field(default=Path("model_store"), description="folder of meta-models")
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda:\d+)$", description="auto takes CUDA when there is one")
    default_model: str = Field(default="omniglot", description="the meta-model of requests that name none")
    torch_threads: int = Field(default=0, ge=0, description="threads of a CPU computation; 0 is all cores but one")
    pin_cores: Literal["auto", "none", "split", "one"] = Field(
        default="auto", description="on a CPU: HTTP, decoding and computing on one core, or split; auto is one when torch has one thread"
    )
    session_ttl_seconds: float = Field(default=3600, gt=0, le=7 * 24 * 3600, description="lifetime of a session that names none")
    store: str = Field(
        default="sqlite",
        pattern=r"^(sqlite|memory|(redis|rediss|unix)://.+)$",
        repr=False,  # a Redis URL may hold a password
        description="where sessions are kept: sqlite, a file in the data directory; memory, until the server ends; or a Redis URL",
    )
    store_bytes: int = Field(default=10 * 2**30, ge=2**20, description="size of the SQLite file, after which nothing more is kept")
    host_bytes: int = Field(
        default=2**30, ge=2**20, description="memory for adapted weights in use, and as much again for the sessions of a memory store"
    )
    stale_seconds: float = Field(
        default=60, ge=0, allow_inf_nan=False, description="how long sessions answer from memory while Redis cannot be reached"
    )
    log_format: Literal["auto", "json"] = Field(
        default="auto", description="of the log on stderr: auto has colours where a person is looking"
    )
    workers: int = Field(default=1, ge=1, le=64, description="processes that serve, on a CPU; they need a shared store: sqlite or Redis")
    arena_bytes: int = Field(
        default=2**30, ge=2**20, description="memory on the device for the heads or bodies of sessions in use, for each length of a row"
    )
    batch_wait_ms: float = Field(
        default=8.0, ge=0, le=1000, allow_inf_nan=False, description="how long the idle device waits for requests that are being decoded"
    )
    queue_items: int = Field(default=20_000, ge=1, description="inputs that may wait for the device")
    max_body_bytes: int = Field(default=64 * 2**20, ge=1024, description="largest request")
    max_image_pixels: int = Field(default=16_000_000, ge=1, description="largest image, before it is decoded")
    max_examples: int = Field(default=10_000, ge=2, description="examples in one support set")
    max_queries: int = Field(default=10_000, ge=1, description="queries in one request")
    max_classes: int = Field(default=1_000, ge=2, description="classes in one support set")
    drain_seconds: float = Field(
        default=0.5, ge=0, allow_inf_nan=False, description="time between readiness falling and the listener closing"
    )
    shutdown_seconds: int = Field(default=20, ge=0, description="time that requests have to end when the server stops")
