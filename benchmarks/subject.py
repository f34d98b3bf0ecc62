"""What benchmarks of accuracy judge: a stored meta-model of Omniglot's drawings, in cells that everybody reports."""

import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import typer

from benchmarks.stopwatch import Clock
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import EpisodeShape
from service.registry.read import Stored, find
from service.training.options import OmniglotData

RESULTS = Path(__file__).parent / "results"
SEED = 1

USUAL = tuple(EpisodeShape(way, (shot, shot), 5) for way, shot in ((5, 1), (5, 5), (20, 1), (20, 5)))
# 20 characters of one alphabet, one drawing of each, one query of each (Lake et al. 2015).
WITHIN = EpisodeShape(20, (1, 1), 1, group=20)


def named(shape: EpisodeShape) -> str:
    """Give the usual short name of a cell: 20w1s, 5w1-10s for uneven shots."""
    low, high = shape.shot
    return f"{shape.way}w{low}s" if low == high else f"{shape.way}w{low}-{high}s"


@dataclass(frozen=True, slots=True)
class Subject:
    """A meta-model of drawings, and the split of Omniglot it was trained on."""

    stored: Stored
    preprocessing: Preprocessing
    split: Literal["background", "vinyals"]

    @property
    def reference(self) -> str:
        """Name and version."""
        return f"{self.stored.manifest.name}@{self.stored.manifest.version}"

    @property
    def provenance(self) -> dict[str, object]:
        """What a result says of whom it is about."""
        return {"model": self.reference, "weights_sha256": self.stored.manifest.weights.sha256}

    def results(self, benchmark: str, device: torch.device | None = None) -> Path:
        """Where a benchmark's figures of this meta-model are kept, on a kind of device where that matters."""
        measured = f"-{device.type}" if device else ""
        return RESULTS / f"{benchmark}-{self.stored.manifest.name}-{self.stored.manifest.version}{measured}.json"


def processor() -> str:
    """Give the processor's name, as Linux knows it."""
    try:
        told = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def machine(clock: Clock) -> dict[str, Any]:
    """Say what a result was measured on."""
    cuda = clock.device.type == "cuda"
    return {
        "device": str(clock.device),
        "device_name": torch.cuda.get_device_name(clock.device) if cuda else processor(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "clock": {name: value for name, value in asdict(clock).items() if name != "device"},
    }


def find_subject(model_store: Path, reference: str) -> Subject:
    """Find a meta-model; raises typer.BadParameter for one that these benchmarks cannot judge."""
    stored = find(model_store, reference)
    takes, data = stored.manifest.input, stored.manifest.training.config["data"]
    if takes.kind != "image" or data["source"] != "omniglot":
        raise typer.BadParameter(f"expected a meta-model trained on Omniglot, got one trained on {data['source']!r}")
    if stored.model.recipe.moves_body:
        raise typer.BadParameter(f"expected a meta-model that adapts its head, got scope {stored.model.recipe.scope!r}")
    return Subject(stored, takes.preprocessing, OmniglotData.model_validate(data).split)
