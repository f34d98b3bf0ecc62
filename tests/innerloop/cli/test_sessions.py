import base64
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from tests.innerloop.cli.conftest import Command
from tests.innerloop.server import FakeServer, problem


def lines(text: str) -> list[list[str]]:
    """The words of each line, without the frame of the table."""
    return [[word for word in line.split() if word.isprintable() and word not in "│┃┏┡└"] for line in text.splitlines()]


def test_adapt_prints_the_session(command: Command, url: str, letters: Path) -> None:
    result = command("adapt", letters, "--url", url)
    assert result.exit_code == 0, result.output
    assert lines(result.stdout)[:-1] == [
        ["session", "ses_0"],
        ["added", "examples", "1", "to", "3"],
        ["model", "omniglot@1,", "scope", "head,", "5", "steps"],
        ["classes", "alpha", "(2),", "beta", "(1)"],
        ["loss", "per", "step", "0.693", "→", "0.250"],
        ["leave-one-out", "90.0%", "of", "the", "support", "set"],
        ["milliseconds", "decode", "1.0,", "queue", "0.5,", "compute", "12.2"],
    ]
    assert lines(result.stdout)[-1][0] == "expires"


def test_adapt_sends_every_option_and_image(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--model", "m", "--steps", "3", "--scope", "body", "--name", "n", "--ttl-seconds", "9", "--url", url)
    sent = server.body
    support = [(one["label"], base64.b64decode(one["image"]).decode()) for one in sent.pop("support")]
    assert support == [("alpha", "alpha/1.png"), ("alpha", "alpha/2.png"), ("beta", "beta/1.png")]
    assert sent == {"model": "m", "steps": 3, "scope": "body", "name": "n", "ttl_seconds": 9.0}


def test_a_zip_is_adapted_as_its_folder(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    from_folder = server.body
    packed = shutil.make_archive(str(letters), "zip", letters)
    assert command("adapt", packed, "--url", url).exit_code == 0
    assert server.body == from_folder


def test_adapt_json_is_the_servers_answer(command: Command, url: str, letters: Path) -> None:
    answer = json.loads(command("adapt", letters, "--url", url, "--json").stdout)
    assert (answer["session"], answer["shots"], answer["milliseconds"]["compute"]) == ("ses_0", {"alpha": 2, "beta": 1}, 12.25)


def test_predict_prints_a_line_for_each_file(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    first, second = letters / "beta/1.png", letters / "alpha/1.png"
    result = command("predict", "ses_0", first, second, "--url", url)
    assert result.exit_code == 0, result.output
    assert [str(first), "alpha", "0.900", "0.800", "beta", "0.100"] in lines(result.stdout)
    assert [str(second), "alpha", "0.900", "0.800", "beta", "0.100"] in lines(result.stdout)
    assert "unlike" not in result.stdout


def test_predict_marks_what_is_unlike_every_class(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    server.unfamiliar = True
    line = lines(command("predict", "ses_0", letters / "beta/1.png", "--url", url).stdout)
    assert any(words[-3:] == ["unlike", "every", "class"] for words in line)


def test_no_column_stands_empty_when_one_label_is_asked_for(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert "runners-up" not in command("predict", "ses_0", letters / "beta/1.png", "--top-k", "1", "--url", url).stdout


def test_predict_json_names_each_file(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    image = letters / "beta/1.png"
    answer = json.loads(command("predict", "ses_0", image, "--top-k", "1", "--url", url, "--json").stdout)
    assert [(one["file"], one["label"]) for one in answer["predictions"]] == [(str(image), "alpha")]
    assert (answer["session"], server.body["top_k"]) == ("ses_0", 1)


def test_predict_shows_the_nearest_examples_when_asked_to(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    image = letters / "beta/1.png"
    table = lines(command("predict", "ses_0", image, "--nearest", "2", "--url", url).stdout)
    assert [str(image), "alpha", "0.900", "0.800", "beta", "0.100", "alpha", "#1", "0.125,", "alpha", "#2", "0.250"] in table
    answer = json.loads(command("predict", "ses_0", image, "--nearest", "2", "--url", url, "--json").stdout)
    assert answer["predictions"][0]["nearest"][1] == {"id": 2, "label": "alpha", "distance": 0.25}
    assert server.body["nearest"] == 2


def test_predict_says_nothing_of_nearest_examples_unless_asked_to(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert "nearest" not in command("predict", "ses_0", letters / "beta/1.png", "--url", url).stdout
    assert "nearest" not in json.loads(command("predict", "ses_0", letters / "beta/1.png", "--url", url, "--json").stdout)["predictions"][0]
    assert "nearest" not in server.body


def test_nearest_examples_that_are_not_kept_are_refused(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--no-keep-support", "--url", url)
    result = command("predict", "ses_0", letters / "beta/1.png", "--nearest", "1", "--url", url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not kept" in result.stderr
    assert command("predict", "ses_0", letters / "beta/1.png", "--nearest", "11", "--url", url).exit_code == 2


def test_sessions_lists_them_all(command: Command, url: str, letters: Path) -> None:
    for name in ("one", "two", "three"):
        command("adapt", letters, "--name", name, "--url", url)
    listed = lines(command("sessions", "--url", url).stdout)
    assert [line[:4] for line in listed if line and line[0].startswith("ses_")] == [
        ["ses_0", "one", "omniglot@1", "2"],
        ["ses_1", "two", "omniglot@1", "2"],
        ["ses_2", "three", "omniglot@1", "2"],
    ]
    assert [one["name"] for one in json.loads(command("sessions", "--url", url, "--json").stdout)] == ["one", "two", "three"]


def test_delete_ends_the_session(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert command("delete", "ses_0", "--url", url).stdout == "deleted ses_0\n"
    assert server.sessions == {}
    command("adapt", letters, "--url", url)
    assert json.loads(command("delete", "ses_1", "--url", url, "--json").stdout) == {"deleted": "ses_1"}


def test_a_folder_of_images_is_asked_about_image_by_image(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    answer = json.loads(command("predict", "ses_0", letters / "alpha", letters / "beta/1.png", "--url", url, "--json").stdout)
    assert [one["file"] for one in answer["predictions"]] == [f"{letters}/{name}" for name in ("alpha/1.png", "alpha/2.png", "beta/1.png")]


def test_the_address_comes_from_the_environment(command: Command, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INNERLOOP_URL", url)
    assert command("sessions").exit_code == 0


def test_an_address_without_its_scheme_is_wrong_usage(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    result = command("sessions", "--url", "localhost:8000")
    assert result.exit_code == 2
    assert "write http://localhost:8000" in result.stderr
    monkeypatch.setenv("INNERLOOP_URL", "localhost:8000")
    assert command("info").exit_code == 2


def test_a_zip_of_images_is_asked_about_as_its_folder(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    command("predict", "ses_0", letters / "alpha", "--url", url)
    from_folder = server.body
    packed = Path(shutil.make_archive(str(letters), "zip", letters / "alpha"))
    answer = json.loads(command("predict", "ses_0", packed, "--url", url, "--json").stdout)
    assert server.body == from_folder
    assert [one["file"] for one in answer["predictions"]] == [f"{packed}, image 1", f"{packed}, image 2"]
    assert command("classify", letters, packed, "--url", url).exit_code == 0
    server.refusal = problem("broken_image", detail="damaged", field="queries[1]")
    assert command("classify", letters, packed, "--url", url).stderr == f"Error: {packed}, image 2: damaged\n"


def test_a_label_is_shown_as_it_is_written(command: Command, url: str, letters: Path) -> None:
    (letters / "beta").rename(letters / "[red]:smile:")
    assert "[red]:smile: (1)" in command("adapt", letters, "--url", url).stdout


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_refusal_is_one_line_on_stderr_and_status_1(command: Command, url: str, letters: Path, flags: list[str]) -> None:
    result = command("predict", "ses_9", letters / "beta/1.png", "--url", url, *flags)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", "Error: no session ses_9\n")


def test_a_refused_example_is_named_by_its_file(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    server.refusal = problem("broken_image", detail="the image is damaged", field="support[1].image")
    result = command("adapt", letters, "--url", url)
    assert (result.exit_code, result.stderr) == (1, f"Error: {letters}/alpha/2.png: the image is damaged\n")


def test_a_refused_example_of_a_zip_is_named_by_its_class(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    server.refusal = problem("broken_image", detail="the image is damaged", field="support.1.image")
    result = command("adapt", shutil.make_archive(str(letters), "zip", letters), "--url", url)
    assert result.stderr == "Error: alpha, image 2: the image is damaged\n"


def test_a_refusal_of_the_whole_request_names_no_file(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    server.refusal = problem("unusable_support", detail="only one class", field="support")
    assert command("adapt", letters, "--url", url).stderr == "Error: only one class\n"


def test_a_folder_that_cannot_be_used_is_one_line_on_stderr(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    (letters / "gamma").mkdir()
    result = command("adapt", letters, "--url", url)
    assert (result.exit_code, result.stderr.count("\n"), server.requests) == (1, 1, [])
    assert result.stderr.startswith("Error: expected images in class 'gamma'")


def test_no_server_is_one_line_on_stderr(command: Command) -> None:
    result = command("sessions", "--url", "http://127.0.0.1:1")
    assert (result.exit_code, result.stderr.count("\n")) == (3, 1)
    assert result.stderr.startswith("Error: no answer from http://127.0.0.1:1")


@pytest.mark.parametrize("arguments", [["predict", "ses_0"], ["adapt"], ["delete"], ["sessions", "--nope"], ["adopt", "x"]])
def test_wrong_usage_is_status_2(command: Command, arguments: list[str]) -> None:
    assert command(*arguments).exit_code == 2


def test_a_fork_begins_with_its_sources_examples(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    result = command("fork", "ses_0", "--name", "copy", "--url", url, "--json")
    assert result.exit_code == 0, result.output
    assert server.body == {"from_session": "ses_0", "name": "copy"}
    assert json.loads(result.stdout)["shots"] == {"alpha": 2, "beta": 1}


def test_a_session_that_keeps_no_support_set_says_so(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    result = command("adapt", letters, "--no-keep-support", "--url", url)
    assert server.body["keep_support"] is False
    assert "not kept; no example can be added or removed" in result.stdout


def test_a_pinned_session_never_expires(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    result = command("change", "ses_0", "--pin", "--name", "kept", "--url", url)
    assert server.body == {"name": "kept", "pinned": True}
    assert "never, it is pinned" in result.stdout
    assert command("change", "ses_0", "--url", url).exit_code == 2


def test_sessions_are_listed_by_name(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    for name in ("one", "two"):
        command("adapt", letters, "--name", name, "--url", url)
    listed = json.loads(command("sessions", "--name", "two", "--created-from", "2026-01-01", "--url", url, "--json").stdout)
    assert [each["name"] for each in listed] == ["two"]
    assert dict(server.query)["created_from"].startswith("2026-01-01T00:00:00")


def test_a_fork_takes_more_examples_and_every_option(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    options = ("--steps", "3", "--scope", "body", "--name", "n", "--ttl-seconds", "9", "--no-keep-support")
    assert ["added", "examples", "4", "to", "6"] in lines(command("fork", "ses_0", letters, *options, "--url", url).stdout)
    sent = server.body
    assert len(sent.pop("support")) == 3
    assert sent == {"from_session": "ses_0", "steps": 3, "scope": "body", "name": "n", "ttl_seconds": 9.0, "keep_support": False}


def test_a_refitted_revision_says_so(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    server.sessions["ses_0"] = server.sessions["ses_0"].model_copy(update={"revision": 2, "refitted": True})
    shown = command("change", "ses_0", "--name", "mine", "--url", url).stdout
    assert ["name", "mine"] in lines(shown)
    assert "2, refitted: its stored weights were lost" in shown


def test_an_older_revision_predicts_when_it_is_named(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    command("predict", "ses_0", letters / "beta/1.png", "--revision", "1", "--url", url)
    assert server.body["revision"] == 1


def test_a_pinned_session_is_listed_as_such(command: Command, url: str, letters: Path) -> None:
    command("adapt", letters, "--url", url)
    assert command("change", "ses_0", "--pin", "--ttl-seconds", "60", "--url", url).exit_code == 0
    assert "never, it is pinned" in command("sessions", "--url", url).stdout
    assert "never" not in command("change", "ses_0", "--no-pin", "--url", url).stdout


def test_times_on_the_command_line_are_local(command: Command, server: FakeServer, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    try:
        command("sessions", "--model", "omniglot@1", "--created-until", "2026-01-02T03:00:00", "--url", url)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert server.query == [("model", "omniglot@1"), ("created_until", "2026-01-02T03:00:00-05:00")]


def test_a_narrow_terminal_cuts_no_id(
    command: Command, server: FakeServer, url: str, letters: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command("adapt", letters, "--name", "a rather long name", "--url", url)
    long_id = "ses_01a212c1f851dd3f4da0a945bb883842"
    server.sessions[long_id] = server.sessions.pop("ses_0").model_copy(update={"session": long_id})
    monkeypatch.setenv("COLUMNS", "80")
    assert long_id in command("sessions", "--url", url).stdout


@pytest.mark.parametrize("terminal", [True, False])
def test_no_file_name_is_cut(command: Command, url: str, letters: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    command("adapt", letters, "--url", url)
    image = letters / f"{'long' * 30}.png"
    image.write_bytes(b"1")
    monkeypatch.setenv("COLUMNS", "80")
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    shown = command("predict", "ses_0", image, "--url", url).stdout
    assert "…" not in shown
    widest = max(map(len, re.sub(r"\x1b\[[\d;]*m", "", shown).splitlines()))
    assert (widest <= 80) == terminal
    assert (str(image) in shown) == (not terminal)
    assert shown.count("long") >= 24 if terminal else shown.count("long") == 30


def test_classifying_in_one_go_keeps_nothing(command: Command, server: FakeServer, url: str, letters: Path) -> None:
    arguments = ("classify", letters, letters / "alpha", "--steps", "2", "--top-k", "1", "--model", "m", "--url", url)
    answer = json.loads(command(*arguments, "--json").stdout)
    assert [one["file"] for one in answer["predictions"]] == [f"{letters}/alpha/{n}.png" for n in (1, 2)]
    assert (answer["session"], server.sessions) == (None, {})
    assert {name: server.body[name] for name in ("model", "steps", "top_k")} == {"model": "m", "steps": 2, "top_k": 1}
    assert "alpha/2.png" in command(*arguments).stdout


@pytest.mark.parametrize(("field", "named"), [("support[2].image", "beta/1.png"), ("queries[0]", "alpha/1.png")])
def test_what_is_refused_while_classifying_is_named_by_its_file(
    command: Command, server: FakeServer, url: str, letters: Path, field: str, named: str
) -> None:
    server.refusal = problem("broken_image", detail="damaged", field=field)
    assert command("classify", letters, letters / "alpha", "--url", url).stderr == f"Error: {letters}/{named}: damaged\n"


@pytest.fixture
def flowers(tmp_path: Path) -> Path:
    file = tmp_path / "flowers.csv"
    file.write_text("length,width,label\n5.1,3.5,setosa\n7.0,3.2,virginica\n", encoding="utf-8")
    return file


def test_a_csv_file_is_adapted_to_row_by_row(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    result = command("adapt", flowers, "--model", "vectors", "--url", url)
    assert result.exit_code == 0, result.output
    support = [{"vector": [5.1, 3.5], "label": "setosa"}, {"vector": [7.0, 3.2], "label": "virginica"}]
    assert server.body == {"model": "vectors", "support": support}


def test_rows_of_a_csv_file_are_predicted_and_named_by_their_lines(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    command("adapt", flowers, "--url", url)
    result = command("predict", "ses_0", flowers, "--url", url, "--json")
    assert result.exit_code == 0, result.output
    assert [query["vector"] for query in server.body["queries"]] == [[5.1, 3.5], [7.0, 3.2]]
    assert [one["file"] for one in json.loads(result.stdout)["predictions"]] == [f"{flowers}, line 2", f"{flowers}, line 3"]


def test_a_row_that_the_server_refuses_is_named_by_its_line(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    server.refusal = problem("unusable_vector", detail="support[1]: expected 4 numbers, got 2", field="support[1]")
    result = command("adapt", flowers, "--url", url)
    assert result.exit_code == 1
    assert f"{flowers}, line 3: " in result.stderr


def test_a_cell_that_is_no_number_is_named_before_anything_is_sent(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    flowers.write_text("length,width,label\n5.1,wide,setosa\n", encoding="utf-8")
    result = command("adapt", flowers, "--url", url)
    assert (result.exit_code, server.requests) == (1, [])
    assert f"{flowers}, line 2, column 'width': expected a number, got 'wide'" in result.stderr


def test_a_table_that_is_refused_whole_is_named(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    server.refusal = problem("unusable_support", detail="m@1 tells classes apart", field="support")
    flowers.write_text("length,target\n5.1,1\n", encoding="utf-8")
    for arguments in (("adapt", flowers), ("classify", flowers, flowers)):
        assert command(*arguments, "--url", url).stderr.startswith(f"Error: {flowers}: m@1 tells classes apart; numbers are taken for")


def test_labels_that_a_regression_refuses_are_named_by_file_and_line(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    server.refusal = problem("unusable_support", detail="m@1 predicts numbers", field="support[0].target")
    assert command("adapt", flowers, "--url", url).stderr == f"Error: {flowers}, line 2: m@1 predicts numbers\n"


def test_a_table_for_a_default_of_images_says_how_to_name_another(command: Command, server: FakeServer, url: str, flowers: Path) -> None:
    server.refusal = problem("wrong_input_kind", detail="support[0]: expected an image, got a vector", field="support[0]")
    for arguments in (("adapt", flowers), ("classify", flowers, flowers)):
        result = command(*arguments, "--url", url)
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert f"{flowers}: the server's default meta-model takes images" in result.stderr
        assert "--model vectors" in result.stderr
        assert "--model vectors" not in command(*arguments, "--model", "m", "--url", url).stderr
