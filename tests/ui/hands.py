"""What a person does with the page."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

Stroke = tuple[tuple[float, float], ...]  # within the unit square

SHAPES: dict[str, tuple[Stroke, ...]] = {
    "cross": (((0.2, 0.2), (0.8, 0.8)), ((0.8, 0.2), (0.2, 0.8))),
    "corner": (((0.25, 0.15), (0.25, 0.8), (0.85, 0.8)),),
    "vee": (((0.2, 0.2), (0.5, 0.85), (0.8, 0.2)),),
}


@dataclass(frozen=True, slots=True)
class Hands:
    """Draws, clicks and reads; every wait ends with what the page shows."""

    page: Page

    def draw(self, pad: Locator, strokes: Iterable[Stroke], *, shift: float = 0.0) -> None:
        """Draw on a pad with the mouse."""
        pad.scroll_into_view_if_needed()
        box = pad.bounding_box()
        assert box is not None
        mouse = self.page.mouse
        for first, *rest in strokes:
            mouse.move(box["x"] + (first[0] + shift) * box["width"], box["y"] + first[1] * box["height"])
            mouse.down()
            for x, y in rest:
                mouse.move(box["x"] + (x + shift) * box["width"], box["y"] + y * box["height"], steps=8)
            mouse.up()

    def card(self, place: int) -> Locator:
        return self.page.locator(".card").nth(place)

    def show(self, place: int, shape: str, *, shift: float = 0.0) -> None:
        """Draw a shape on the pad of a class, and add it."""
        card = self.card(place)
        before = card.locator(".thumb").count()
        self.draw(card.locator("canvas"), SHAPES[shape], shift=shift)
        card.get_by_text("Add", exact=True).click()
        expect(card.locator(".thumb")).to_have_count(before + 1)

    def name(self, place: int, label: str) -> None:
        self.card(place).get_by_role("textbox", name="Name of the class").fill(label)

    def give(self, place: int, files: list[Path]) -> None:
        """Choose files for a class."""
        with self.page.expect_file_chooser() as chosen:
            self.card(place).get_by_text("Files", exact=True).click()
        chosen.value.set_files(files)

    def take_samples(self) -> None:
        self.page.get_by_role("button", name="Try our drawings").click()
        expect(self.page.locator(".card .thumb")).to_have_count(10)

    def adapt(self) -> str:
        """Press Adapt; gives the session's id."""
        before = self.page.url
        self.page.locator("#adapt").click()
        self.page.wait_for_url(lambda address: "#/session/ses_" in address and address != before)
        return self.page.url.rpartition("/")[2]

    @property
    def pad(self) -> Locator:
        """The pad of the question."""
        return self.page.locator("#question canvas")

    @property
    def guess(self) -> Locator:
        return self.page.locator(".guess b")

    @property
    def alert(self) -> Locator:
        return self.page.locator("#alert")

    @property
    def learned(self) -> Locator:
        return self.page.locator("#learned")
