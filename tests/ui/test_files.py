"""Pictures that come as files: chosen, dropped, pasted, photographed, whole folders."""

import base64
import shutil
from pathlib import Path

from playwright.sync_api import Locator, expect

from innerloop import Client
from tests.ui.hands import Hands

TRANSFER = """([files, kind]) => {
  const transfer = new DataTransfer();
  for (const { name, base64 } of files) {
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type: kind }));
  }
  return transfer;
}"""


def drop(hands: Hands, place: Locator, files: list[Path], kind: str = "image/png") -> None:
    """Drop files on a place; what they are is what a browser would say of them."""
    given = [{"name": file.name, "base64": base64.b64encode(file.read_bytes()).decode()} for file in files]
    transfer = hands.page.evaluate_handle(TRANSFER, [given, kind])
    place.dispatch_event("dragover", {"dataTransfer": transfer})
    place.dispatch_event("drop", {"dataTransfer": transfer})


def paste(hands: Hands, file: Path) -> None:
    given = [{"name": "image.png", "base64": base64.b64encode(file.read_bytes()).decode()}]
    transfer = hands.page.evaluate_handle(TRANSFER, [given, "image/png"])
    hands.page.evaluate(
        "transfer => document.activeElement.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true }))",
        transfer,
    )


def test_chosen_files_are_learned_and_a_chosen_query_is_recognised(hands: Hands, support: Path) -> None:
    for place, label in enumerate(("anchor", "kite")):
        hands.name(place, label)
        hands.give(place, [support / label / "1.png", support / label / "2.png"])
    hands.adapt()
    with hands.page.expect_file_chooser() as chosen:
        hands.page.locator("#question").get_by_role("button", name="File", exact=True).click()
    chosen.value.set_files(support.parent / "queries" / "kite-3.png")
    expect(hands.guess).to_have_text("kite")


def test_files_are_dropped_on_a_class_and_on_the_question(hands: Hands, support: Path) -> None:
    for place, label in enumerate(("hook", "ladder")):
        hands.name(place, label)
        drop(hands, hands.card(place), [support / label / "1.png", support / label / "3.png"])
        expect(hands.card(place).locator(".thumb")).to_have_count(2)
    hands.adapt()
    drop(hands, hands.page.locator(".question"), [support.parent / "queries" / "ladder-1.png"])
    expect(hands.guess).to_have_text("ladder")


def test_files_dropped_beside_the_classes_make_classes_of_their_own_names(hands: Hands, support: Path, tmp_path: Path) -> None:
    files = [Path(shutil.copy(support / label / "1.png", tmp_path / f"{label}.png")) for label in ("comet", "hook")]
    drop(hands, hands.page.locator(".picture-editor"), files)
    expect(hands.page.locator(".card")).to_have_count(2)
    assert [hands.card(place).get_by_role("textbox").input_value() for place in (0, 1)] == ["comet", "hook"]


def test_a_folder_becomes_classes_by_its_folders_names(hands: Hands, client: Client, support: Path, tmp_path: Path) -> None:
    for label in ("anchor", "comet", "kite"):
        shutil.copytree(support / label, tmp_path / "mine" / label)
    (tmp_path / "mine" / "anchor" / "notes.txt").write_text("not a picture")
    with hands.page.expect_file_chooser() as chosen:
        hands.page.get_by_role("button", name="Open a folder").click()
    chosen.value.set_files(tmp_path / "mine")
    expect(hands.page.locator(".card .thumb")).to_have_count(15)
    assert client.session(hands.adapt()).info.shots == {"anchor": 5, "comet": 5, "kite": 5}


def test_a_pasted_picture_goes_where_the_focus_is(hands: Hands, support: Path) -> None:
    hands.card(1).get_by_role("textbox").focus()
    paste(hands, support / "kite" / "1.png")
    expect(hands.card(1).locator(".thumb")).to_have_count(1)
    hands.page.evaluate("document.activeElement.blur()")
    hands.page.mouse.move(1, 1)
    paste(hands, support / "kite" / "1.png")
    expect(hands.alert).to_contain_text("Where should the picture go?")


def test_the_camera_takes_pictures_for_a_class(hands: Hands) -> None:
    hands.card(0).get_by_role("button", name="Camera").click()
    dialog = hands.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Take picture").click()
    expect(dialog).to_contain_text("1 picture taken.")
    hands.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(hands.card(0).locator(".thumb")).to_have_count(1)


def test_a_file_that_is_no_picture_is_named_with_its_class(hands: Hands, support: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a picture")
    hands.name(0, "anchor")
    hands.give(0, [support / "anchor" / "1.png"])
    hands.name(1, "kite")
    hands.give(1, [support / "kite" / "1.png", notes])
    hands.page.locator("#adapt").click()
    expect(hands.alert).to_contain_text("notes.txt in “kite”: expected an image")
    hands.card(1).get_by_role("button", name="Remove notes.txt").click()
    hands.adapt()
    expect(hands.alert).to_be_hidden()


def test_an_empty_file_is_refused_before_anything_is_sent(hands: Hands, tmp_path: Path) -> None:
    empty = tmp_path / "empty.png"
    empty.touch()
    hands.give(0, [empty])
    expect(hands.alert).to_contain_text("empty.png is an empty file")


def test_a_dropped_file_that_is_no_picture_is_refused_at_once_with_all_that_came_along(hands: Hands, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("not a picture")
    for place in (hands.card(0), hands.page.locator(".picture-editor")):
        drop(hands, place, [notes], "text/plain")
        expect(hands.alert).to_contain_text("notes.txt is no picture (it is text/plain)")
        expect(hands.page.locator(".card .thumb")).to_have_count(0)
        hands.page.get_by_role("button", name="Close this message").click()
