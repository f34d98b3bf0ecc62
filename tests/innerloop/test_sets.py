import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from innerloop.errors import UnusableInputError
from innerloop.inputs import Fields
from innerloop.sets import Queries, Support, examples, queries
from innerloop.wire import Example

PICTURE = Image.new("L", (3, 2), 200)
TABLE = pd.DataFrame({"long": [1.5, 2.5], "label": ["a", "b"], "wide": [3, 4]})


def support_fields(support: Support) -> list[Fields]:
    return [item.fields() for item in examples(support)]


def query_fields(given: Queries) -> list[Fields]:
    return [item.fields() for item in queries(given)]


def test_a_support_set_keeps_the_order_it_came_in() -> None:
    fields = support_fields({"b": [b"1", b"2"], "a": [[0.5]]})
    assert [Example.model_validate(one).label for one in fields] == ["b", "b", "a"]
    assert [Example.model_validate(one).image for one in fields] == [b"1", b"2", None]


def test_a_stack_of_images_is_a_list_of_images() -> None:
    assert query_fields(np.zeros((4, 2, 2), dtype=np.uint8)) == query_fields([np.zeros((2, 2), dtype=np.uint8)] * 4)


def test_a_table_of_numbers_is_a_list_of_vectors() -> None:
    rows = [{"vector": [1.5, 3.0]}, {"vector": [2.5, 4.0]}]
    assert query_fields(np.array([[1.5, 3], [2.5, 4]])) == query_fields(TABLE[["long", "wide"]]) == rows
    assert support_fields({"a": TABLE[["long", "wide"]]}) == [row | {"label": "a"} for row in rows]


def test_a_data_frame_has_its_labels_in_a_column() -> None:
    assert support_fields(TABLE) == [{"vector": [1.5, 3.0], "label": "a"}, {"vector": [2.5, 4.0], "label": "b"}]


@pytest.mark.parametrize("targets", [[0.5, 2], np.array([0.5, 2.0]), np.array([[0.5], [2.0]]), pd.Series([0.5, 2.0])])
def test_numbers_in_place_of_labels_are_targets(targets: Any) -> None:
    expected = [{"vector": [1.5, 3.0], "target": (0.5,)}, {"vector": [2.5, 4.0], "target": (2.0,)}]
    assert support_fields((TABLE[["long", "wide"]], targets)) == expected
    assert [Example.model_validate(one).target for one in expected] == [(0.5,), (2.0,)]


def test_a_data_frame_may_have_its_targets_in_a_column() -> None:
    frame = TABLE[["long", "wide"]].assign(target=[0.5, 2.0])
    assert support_fields(frame) == support_fields((TABLE[["long", "wide"]], [0.5, 2.0]))


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([3, 10], ["3", "10"]),
        ([3.0, 2.5], ["3", "2.5"]),
        ([True, False], ["True", "False"]),
        (pd.Series([1, 2], dtype="Int64"), ["1", "2"]),
        (pd.Categorical([7, 8]), ["7", "8"]),
    ],
)
def test_a_column_of_labels_is_one_whatever_its_values_are(labels: Any, expected: list[str]) -> None:
    assert [fields["label"] for fields in support_fields(TABLE.assign(label=labels))] == expected


@pytest.mark.parametrize(
    ("column", "cells", "says"),
    [
        ("label", [1, None], r"support\[1\], row 1 counted from 0, column 'label': expected a label, got nan; fill it in"),
        ("label", ["a", None], r"row 1 counted from 0, column 'label': expected a label, got (None|nan); fill it in"),
        ("label", pd.array([1, None], dtype="Int64"), r"row 1 counted from 0, column 'label': expected a label, got <NA>; fill it in"),
        ("target", [0.5, None], r"row 1 counted from 0, column 'target': expected finite numbers to predict, got nan; fill it in"),
        ("target", [0.5, "b"], r"column 'target': expected numbers to predict, got 'b'; a column of classes is called 'label'"),
    ],
)
def test_a_cell_that_is_no_answer_is_named_by_its_row(column: str, cells: Any, says: str) -> None:
    with pytest.raises(UnusableInputError, match=says):
        support_fields(TABLE[["long", "wide"]].assign(**{column: cells}))


@pytest.mark.parametrize("labels", [["a", "b"], np.array(["a", "b"]), TABLE["label"]])
def test_inputs_and_labels_may_come_as_a_pair(labels: Any) -> None:
    assert support_fields((TABLE[["long", "wide"]], labels)) == support_fields(TABLE)
    assert support_fields((np.array([[1.5, 3], [2.5, 4]]), labels)) == support_fields(TABLE)


def test_a_path_leads_to_class_folders_and_images_or_to_zips_of_them(tmp_path: Path) -> None:
    folder, packed = tmp_path / "set", tmp_path / "set.zip"
    with zipfile.ZipFile(packed, "w") as file:
        for name in ("a/1.png", "b/1.png", "b/2.png"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(name.encode())
            file.writestr(name, name)
    assert support_fields(folder) == support_fields(str(packed)) == support_fields({"a": [b"a/1.png"], "b": [b"b/1.png", b"b/2.png"]})
    with zipfile.ZipFile(tmp_path / "queries.zip", "w") as file:
        file.writestr("all/1.png", "b/1.png")
        file.writestr("all/2.png", "b/2.png")
    assert query_fields(folder / "b") == query_fields(tmp_path / "queries.zip") == query_fields([b"b/1.png", b"b/2.png"])


def test_queries_are_read_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"1")
    read = queries([tmp_path / "1.png", tmp_path / "missing.png"])
    assert next(iter(read)).fields()


def test_a_bad_example_is_located() -> None:
    with pytest.raises(UnusableInputError, match=r"support\['a'\]\[1\]: .*no\.png"):
        support_fields({"a": [b"1", "no.png"]})


def test_a_bad_query_is_located() -> None:
    with pytest.raises(UnusableInputError, match=r"queries\[2\]: .*got int"):
        query_fields([b"1", b"2", 3])  # type: ignore[list-item]


def test_a_class_without_examples_is_refused_before_sending() -> None:
    with pytest.raises(UnusableInputError, match=r"support\['b'\] has no examples"):
        support_fields({"a": [b"1"], "b": []})


@pytest.mark.parametrize("single", ["a.png", Path("a.png"), b"raw", PICTURE])
def test_one_input_in_place_of_a_list_is_refused(single: Any) -> None:
    with pytest.raises(UnusableInputError, match=r"support\['a'\]: expected a list of inputs"):
        support_fields({"a": single})
    with pytest.raises(UnusableInputError, match="queries: expected a list of inputs"):
        query_fields(single)


@pytest.mark.parametrize(
    ("support", "message"),
    [
        (7, "expected a support set as a mapping"),
        (([[1.0], [2.0]], ["a"]), "a label for each of 2 inputs, got 1"),
        (([[1.0]], [None]), r"support\[0\]: expected a label of text, or numbers to predict, got None"),
        (([[1.0]], [float("nan")]), r"support\[0\]: expected finite numbers to predict, got nan; fill it in, or leave the row out"),
        (([[1.0]], [True]), r"support\[0\]: expected a label of text, or numbers to predict, got True"),
        ({3: [[1.0]]}, r"support\[3\]: expected a label of text, got 3"),
        (TABLE.rename(columns={"label": "kind"}), "expected one column 'label' in the support set, or 'target' of numbers.*'kind'"),
        (TABLE.assign(wide=["x", "y"]), r"support\[0\]: .*got 'x' at \[1\]"),
        (Path("nowhere"), "expected a folder of class folders at nowhere"),
    ],
)
def test_what_is_no_support_set_says_what_was_expected(support: Any, message: str) -> None:
    with pytest.raises(UnusableInputError, match=message):
        support_fields(support)


def test_a_folder_of_folders_is_no_list_of_queries(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UnusableInputError, match=r"expected only images in .*got the folder 'a'"):
        query_fields(tmp_path)
    with pytest.raises(UnusableInputError, match=r"expected only images in .*got nothing"):
        query_fields(tmp_path / "a")


def test_a_csv_file_is_a_support_set_and_without_its_labels_queries(tmp_path: Path) -> None:
    path = tmp_path / "flowers.csv"
    path.write_text("length,label,width\n5.1,setosa,3.5\n7.0,virginica,3.2\n", encoding="utf-8")
    assert [item.fields() for item in examples(path)] == [
        {"vector": [5.1, 3.5], "label": "setosa"},
        {"vector": [7.0, 3.2], "label": "virginica"},
    ]
    assert [item.fields() for item in queries(str(path))] == [{"vector": [5.1, 3.5]}, {"vector": [7.0, 3.2]}]


def test_a_csv_file_with_targets_is_a_regression(tmp_path: Path) -> None:
    path = tmp_path / "wave.csv"
    path.write_text("x,target\n0.5,1\n", encoding="utf-8")
    assert [item.fields() for item in examples(path)] == [{"vector": [0.5], "target": (1.0,)}]
