"""Changing what lies in a store, the way an accident or another program would."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save
from torch import Tensor


def edit_manifest(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest in place; `edit` gets its table."""
    table = json.loads((folder / "manifest.json").read_text())
    edit(table)
    (folder / "manifest.json").write_text(json.dumps(table))


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]) -> None:
    """Replace the tensors and let the manifest state the checksum of the new file."""
    content = save(dict(edit(load_file(folder / "weights.safetensors"))))
    (folder / "weights.safetensors").write_bytes(content)
    stated = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(folder, lambda table: table.update(weights=stated))
