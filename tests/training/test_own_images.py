from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from service.errors import BadConfigError, BadDataError
from service.training.demands import require_enough
from service.training.options import FolderData, TrainOptions, read_options
from service.training.own_images import Plan, Wishes, plan, warnings, write_plan
from service.training.sources.load import load_classes
from service.training.sources.survey import Survey, survey
from tests.training.pictures import drawings, scenes

PHOTOS = Survey(classes={f"class{k:02d}": 10 for k in range(30)}, damaged={}, side=200, colour=True, drawings=False)


def chosen(seen: Survey = PHOTOS, path: Path = Path("My Birds.zip"), **wishes: Any) -> Plan:
    return plan(path, seen, Wishes(**wishes), cores=2)


def configured(chosen: Plan, run: Path) -> TrainOptions:
    return read_options(write_plan(chosen, run))


def test_the_split_shares_no_class_and_leaves_none_out() -> None:
    split = chosen().split
    assert sorted((*split.train, *split.val, *split.test)) == list(PHOTOS.classes)
    assert (len(split.train), len(split.val), len(split.test)) == (22, 4, 4)


@pytest.mark.parametrize(
    ("side", "drawn", "asked", "size"),
    [
        (200, False, None, 84),
        (50, False, None, 48),
        (20, False, None, 28),
        (105, True, None, 32),
        (30, True, None, 28),
        (50, False, 224, 224),
    ],
)
def test_the_size_follows_the_images_unless_it_is_asked_for(side: int, drawn: bool, asked: int | None, size: int, tmp_path: Path) -> None:
    options = configured(chosen(replace(PHOTOS, side=side, drawings=drawn, colour=not drawn), size=asked), tmp_path)
    assert options.preprocessing.size == size
    assert options.build_encoder().input_shape[1:] == (size, size)


@pytest.mark.parametrize("size", [27, 225])
def test_a_size_out_of_range_is_refused(size: int) -> None:
    with pytest.raises(BadConfigError, match=f"28 to 224 pixels, got {size}"):
        chosen(size=size)


def test_colour_and_preprocessing_follow_the_images_unless_they_are_asked_for(tmp_path: Path) -> None:
    signs = replace(PHOTOS, colour=False, drawings=True)
    ways = {"photo": chosen(), "grey": chosen(colour=False), "signs": chosen(signs), "coloured signs": chosen(signs, colour=True)}
    found = {name: configured(each, tmp_path / name).preprocessing for name, each in ways.items()}
    assert {name: (each.kind, each.channels) for name, each in found.items()} == {
        "photo": ("photo", 3),
        "grey": ("photo", 1),
        "signs": ("drawing", 1),
        "coloured signs": ("photo", 3),
    }


@pytest.mark.parametrize(
    ("path", "name"), [("My Birds.zip", "my-birds"), ("a/Größe_2", "gr-e-2"), ("x" * 80, "x" * 64)], ids=["zip", "accents", "long"]
)
def test_the_name_is_made_of_the_path(path: str, name: str) -> None:
    assert chosen(path=Path(path)).name == name
    assert chosen(path=Path(path), name="mine").name == "mine"


def test_a_path_that_makes_no_name_asks_for_one() -> None:
    with pytest.raises(BadConfigError, match="give one with --name"):
        chosen(path=Path("日本"))


def test_classes_with_too_few_images_are_left_out_by_name() -> None:
    seen = replace(PHOTOS, classes={**PHOTOS.classes, "rare": 1, "rarer": 0})
    plan = chosen(seen)
    assert plan.at_least == 8
    assert plan.left_out == (("rare", 1), ("rarer", 0))
    assert warnings(plan, seen) == ["left out, since they have fewer than 8 images that can be read: rare (1), rarer (0)"]
    assert "rare" not in (*plan.split.train, *plan.split.val, *plan.split.test)


def test_images_that_cannot_be_read_are_named_and_kept_out(tmp_path: Path) -> None:
    seen = replace(PHOTOS, damaged={PurePosixPath("class03/bad.png"): "it ends early"})
    assert warnings(chosen(seen), seen) == ["class03/bad.png: left out, since it cannot be read: it ends early"]
    data = configured(chosen(seen), tmp_path).data
    assert isinstance(data, FolderData)
    assert data.leave_out == (PurePosixPath("class03/bad.png"),)


def test_an_image_in_no_class_is_named_and_kept_out(tmp_path: Path) -> None:
    root = drawings(tmp_path / "signs", classes=6, images=4)
    (root / "stray.png").write_bytes((root / "sign0" / "0.png").read_bytes())
    seen = survey(root)
    made = plan(root, seen, Wishes(size=28), cores=2)
    assert warnings(made, seen) == ["stray.png: left out, since it is in no class folder"]
    data = load_classes(configured(made, tmp_path / "run"), data_root=None)
    assert sum(len(each.inputs) for part, each in data.items() if part != "train") == 4 * 4


def test_few_images_in_most_classes_leave_out_only_what_has_fewer() -> None:
    classes = {f"class{k}": 4 for k in range(10)} | {"single": 1}
    assert chosen(replace(PHOTOS, classes=classes)).at_least == 4
    six = {f"class{k}": 2 for k in range(6)} | {f"single{k}": 1 for k in range(6)}
    assert chosen(replace(PHOTOS, classes=six)).at_least == 2


def test_five_usable_classes_are_refused() -> None:
    with pytest.raises(BadDataError, match=r"at least 6 class folders of at least 2 images .* got 5"):
        chosen(replace(PHOTOS, classes={f"class{k}": 9 for k in range(5)} | {"single": 1}))


@pytest.mark.parametrize(("classes", "images"), [(6, 2), (6, 3), (7, 4), (6, 6), (6, 8), (24, 2), (8, 12)])
def test_the_configuration_asks_for_no_more_than_the_images_give(classes: int, images: int, tmp_path: Path) -> None:
    root = drawings(tmp_path / "signs", classes=classes, images=images)
    options = configured(plan(root, survey(root), Wishes(size=28), cores=2), tmp_path / "run")
    require_enough(options, load_classes(options, data_root=None))


def test_few_training_classes_are_turned_and_many_are_not(tmp_path: Path) -> None:
    few = replace(PHOTOS, classes=dict(list(PHOTOS.classes.items())[:8]))
    written = [configured(chosen(seen), tmp_path / str(k)).data for k, seen in enumerate((few, PHOTOS))]
    assert [isinstance(data, FolderData) and data.rotations for data in written] == [True, False]


def test_steps_follow_the_number_of_images_unless_they_are_asked_for(tmp_path: Path) -> None:
    many = replace(PHOTOS, classes=dict.fromkeys(PHOTOS.classes, 10_000))
    steps = [configured(chosen(seen), tmp_path / str(k)).steps for k, seen in enumerate((PHOTOS, many))]
    assert steps == [300, 3000]
    asked = configured(chosen(steps=8), tmp_path / "asked")
    assert (asked.pretraining.steps, asked.meta_steps) == (6, 2)


def test_a_configuration_that_was_changed_is_not_written_over(tmp_path: Path) -> None:
    path = write_plan(chosen(), tmp_path / "run")
    assert write_plan(chosen(), tmp_path / "run") == path
    path.write_text(path.read_text(encoding="utf-8").replace("seed = 1", "seed = 2"), encoding="utf-8")
    with pytest.raises(BadConfigError, match=r"config\.toml: expected what these images and options give.* or name another --run"):
        write_plan(chosen(), tmp_path / "run")


def test_any_folder_name_can_be_written(tmp_path: Path) -> None:
    root = scenes(tmp_path / 'a "quoted" \\ ü folder', images=2)
    options = configured(plan(root, survey(root), Wishes(name="mine", size=28), cores=2), tmp_path / "run")
    assert {part: len(classes) for part, classes in load_classes(options, data_root=None).items()} == {
        "train": 8,
        "validation": 2,
        "test": 2,
    }


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7), (64, 8)])
def test_one_core_is_left_to_the_machines_other_work(cores: int, threads: int, tmp_path: Path) -> None:
    assert configured(plan(Path("birds"), PHOTOS, Wishes(), cores=cores), tmp_path).threads == threads
