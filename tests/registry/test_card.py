from dataclasses import replace
from pathlib import Path

from service.learner.encoders.residual import Residual
from service.registry.card import card
from service.registry.manifest import EvaluationRow
from service.registry.read import read, versions
from tests.conftest import REPOSITORY
from tests.tiny import tiny_model, write_tiny


def row(data: str, way: int, shot: int, accuracy: float, calibration_error: float | None = None) -> EvaluationRow:
    return EvaluationRow(
        data=data, way=way, shot=shot, scope="head", steps=5, accuracy=accuracy, ci95=0.0012, calibration_error=calibration_error,
        episodes=10_000, queries_per_class=3,
    )  # fmt: skip


def test_the_card_names_every_accuracy_row(tmp_path: Path) -> None:
    manifest = read(write_tiny(tmp_path)).manifest
    rows = (row("omniglot", 5, 1, 0.98765), row("omniglot", 20, 5, 0.5, 0.01234))
    lines = card(manifest.model_copy(update={"evaluation": rows})).splitlines()
    assert "| omniglot | 5 | 1 | head | 5 | 98.77 ± 0.12 |  | 10,000 | 3 |" in lines
    assert "| omniglot | 20 | 5 | head | 5 | 50.00 ± 0.12 | 1.23 | 10,000 | 3 |" in lines


def test_the_card_written_is_that_of_the_manifest(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    text = (folder / "CARD.md").read_text()
    manifest = read(folder).manifest
    assert text == card(manifest)
    for words in ("# tiny@1", manifest.weights.sha256, "scope `head`", "3 inner steps by default, at most 10", "| 50.00 ± 10.00 |"):
        assert words in text


def test_the_spread_of_a_class_is_in_the_manifest_and_on_the_card_where_it_was_measured(tmp_path: Path) -> None:
    known = write_tiny(tmp_path, "known", replace(tiny_model(), spread=209.84))
    assert (read(known).manifest.spread, read(known).model.spread) == (209.84, 209.84)
    assert "- Spread of a class, in squared distance of embeddings: 209.8" in (known / "CARD.md").read_text()
    unknown = write_tiny(tmp_path, "unknown")
    assert read(unknown).model.spread is None
    assert "Spread" not in (unknown / "CARD.md").read_text()


def test_the_card_is_the_same_once_the_manifest_is_read_again(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path, model=tiny_model(Residual(widths=(4, 8), projection=6)))
    assert (folder / "CARD.md").read_text() == card(read(folder).manifest)


def test_every_shipped_meta_model_reads_and_its_card_is_up_to_date() -> None:
    for folder in versions(REPOSITORY / "model_store"):
        assert (folder / "CARD.md").read_text() == card(read(folder).manifest)
        assert sum(file.stat().st_size for file in folder.iterdir()) <= 8_000_000
