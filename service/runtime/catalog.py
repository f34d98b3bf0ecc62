"""The meta-models that this server has loaded, and those it refused."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch

from service.errors import ModelNotFoundError, ModelRefusedError, RegistryError
from service.learner.meta_model import MetaModel, as_served
from service.registry.manifest import Manifest
from service.registry.read import read, versions

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Served:
    """A meta-model on the device, ready."""

    manifest: Manifest
    model: MetaModel

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.manifest.name}@{self.manifest.version}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A meta-model in the store that cannot be trusted, and why."""

    name: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every version in the store: served or refused, sorted by name and version."""

    served: Sequence[Served]
    refused: Sequence[Refused]
    default: str | None

    def is_default(self, served: Served) -> bool:
        """Whether requests that name no meta-model get this one."""
        highest = [each for each in self.served if each.manifest.name == self.default][-1:]
        return any(each is served for each in highest)

    def find(self, reference: str | None) -> Served:
        """Give a meta-model by `name`, the highest version that serves, or `name@version`; the default for None.

        Raises:
            ModelNotFoundError: no such name or version.
            ModelRefusedError: it is in the store, but damaged.
        """
        wanted = reference if reference is not None else self.default
        if wanted is None:
            raise ModelNotFoundError(
                "expected a meta-model's name, because this server has no default; GET /v1/models lists them", field="model"
            )
        found = [each for each in self.served if wanted in (each.manifest.name, each.reference)]
        if found:
            return found[-1]
        for each in self.refused:
            if wanted in (each.name, f"{each.name}@{each.version}"):
                raise ModelRefusedError(f"meta-model {each.name}@{each.version} is not served: {each.reason}", field="model")
        names = ", ".join(each.reference for each in self.served) or "none"
        raise ModelNotFoundError(f"no meta-model {wanted!r}; this server has {names}", field="model")


def load_catalog(store: Path, *, device: torch.device, default: str) -> Catalog:
    """Load every meta-model of a store onto the device; a damaged one is refused and logged, the others serve.

    The default is the named one, damaged or not, when the store has it; else the only one there is.
    """
    served, refused = [], []
    for folder in versions(store):
        try:
            stored = read(folder)
        except RegistryError as error:
            log.error("model refused", model=f"{folder.parent.name}@{folder.name}", reason=error.message)
            refused.append(Refused(folder.parent.name, int(folder.name), error.message))
        else:
            served.append(Served(stored.manifest, as_served(stored.model, device)))
            log.info("model loaded", model=served[-1].reference, device=str(device))
    names = {each.manifest.name for each in served} | {each.name for each in refused}
    fallback = next(iter(names)) if len(names) == 1 else None
    return Catalog(served, refused, default if default in names else fallback)
