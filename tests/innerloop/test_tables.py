from pathlib import Path

import pytest

from innerloop.errors import UnusableInputError
from innerloop.tables import Table, is_table, read_labelled, read_table


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "flowers.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_row_is_a_vector_with_its_label_wherever_that_column_is(tmp_path: Path) -> None:
    path = written(tmp_path, "length,label,width\n5.1,setosa,3.5\n-7e0,virginica, 3.2 \n")
    expected = Table((f"{path}, line 2", f"{path}, line 3"), ((5.1, 3.5), (-7.0, 3.2)), ("setosa", "virginica"))
    assert read_table(path) == expected


def test_a_column_target_has_numbers_to_predict(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, "x,target\n1,2.5\n2,-3\n")).answers == (2.5, -3.0)


def test_a_table_without_answers_is_one_of_queries(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a,b\n1,2\n"))
    assert (table.vectors, table.answers) == (((1.0, 2.0),), None)


@pytest.mark.parametrize(
    "text",
    ["x;y;label\r\n1;2;a\r\n", "x\ty\tlabel\n1\t2\ta", '\ufeffx,y,label\n"1","2","a"\n', "\n x , y , label \n\n1,2,a\n,,\n"],
    ids=["semicolons", "tabs", "byte order mark and quotes", "empty lines and spaces"],
)
def test_files_of_other_programs_are_read_too(tmp_path: Path, text: str) -> None:
    table = read_table(written(tmp_path, text))
    assert (table.vectors, table.answers) == (((1.0, 2.0),), ("a",))


def test_a_label_may_hold_the_separator_in_quotes(tmp_path: Path) -> None:
    assert read_table(written(tmp_path, 'x,label\n1,"Iris, wild"\n')).answers == ("Iris, wild",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x,label\n1,a\n1;5,b\n", "line 3, column 'x': expected a number, got '1;5'"),
        ("x,label\n1,a\n\n,b\n", "line 4, column 'x': expected a number, got ''"),
        ("x,label\nnan,a\n", "line 2, column 'x': expected a number, got 'nan'"),
        ("x,label\n1,\n", "line 2, column 'label': expected a label, got an empty cell"),
        ("x,target\n1,a\n", "line 2, column 'target': expected a number, got 'a'; a column of classes is called 'label'"),
        ("x,y,label\n1,2,a\n1,a\n", "line 3: expected 3 cells as the header has, got 2"),
        ("1,2,3\n4,5,6\n", "expected a header that names the columns in its first line, got 1, 2, 3"),
        ("", "expected a header that names the columns in its first line, got nothing"),
        ("label\na\nb\n", "line 1: expected columns of numbers beside 'label', got none"),
        ("\n\ntarget\n1\n", "line 3: expected columns of numbers beside 'target', got none"),
        ("x,label\n", "expected rows below the header, got none"),
        ("x,label,target\n1,a,2\n", "expected one column 'label' or 'target', got the columns"),
        ('x,label\n1,"a\n', "expected a CSV file at"),
        (b"x,label\n1,\xff\n", "expected a CSV file at"),
    ],
)
def test_what_cannot_be_read_is_named_by_file_line_and_column(tmp_path: Path, text: str | bytes, says: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UnusableInputError) as refused:
        read_table(path)
    assert says in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_of_tabs_by_its_name_is_parted_by_them_alone(tmp_path: Path) -> None:
    path = tmp_path / "flowers.TSV"
    path.write_text("length, cm, dry\tlabel\n5.1\tsetosa\n", encoding="utf-8")
    assert is_table(path)
    table = read_table(path)
    assert (table.vectors, table.answers) == (((5.1,),), ("setosa",))


def test_a_support_set_needs_answers(tmp_path: Path) -> None:
    with pytest.raises(UnusableInputError, match="expected a column 'label', or 'target' of numbers, got neither; rename yours"):
        read_labelled(written(tmp_path, "x,species\n1,2\n"))


def test_a_file_that_is_not_there_is_still_a_table_by_its_name(tmp_path: Path) -> None:
    assert is_table(tmp_path / "Absent.CSV")
    assert not is_table(tmp_path / "pictures.zip")
    with pytest.raises(UnusableInputError, match=r"expected a CSV file at .*: No such file"):
        read_table(tmp_path / "Absent.CSV")
