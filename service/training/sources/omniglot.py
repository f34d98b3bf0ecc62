"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each (Lake, Salakhutdinov and Tenenbaum 2015)."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from service.errors import BadDataError
from service.inputs.preprocessing import Preprocessing
from service.learner.episodes import ClassInputs
from service.training.sources.class_folders import class_folders

DRAWINGS = 20
CHARACTERS = {"background": 964, "evaluation": 659}

# Held out of the background part to choose and stop by.
BACKGROUND_VALIDATION = ("Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)")

# The split of Vinyals et al. (2016): these alphabets validate, and the last characters of the evaluation part test.
VINYALS_VALIDATION = BACKGROUND_VALIDATION
VINYALS_TEST = 423


def omniglot(root: Path, preprocessing: Preprocessing, *, split: str, download: bool = False) -> Mapping[str, ClassInputs]:
    """Load Omniglot as `train`, `validation` and `test` classes, named `<alphabet>/<character>`.

    Args:
        root: folder with `images_background` and `images_evaluation`, each unpacked or as `.zip`; or their parent
            when it is called `omniglot`.
        preprocessing: what turns a drawing into the encoder's input.
        split: `background` tests on the 20 evaluation alphabets and validates on five background alphabets;
            `vinyals` is the 1028 / 172 / 423 split of Vinyals et al. (2016), arXiv:1606.04080.
        download: fetch missing parts through torchvision.

    Raises:
        BadDataError: a part is missing, damaged or incomplete, or the split is unknown.
    """
    if split not in SPLITS:
        raise BadDataError(f"expected an Omniglot split among {sorted(SPLITS)}, got {split!r}")
    background, evaluation = (_part(root, part, preprocessing, download=download) for part in CHARACTERS)
    return SPLITS[split](background, evaluation)


def _part(root: Path, part: str, preprocessing: Preprocessing, *, download: bool) -> ClassInputs:
    name = f"images_{part}"
    if download and not _found(root, name):
        _download(root, part)
    path = _found(root, name)
    if path is None:
        raise BadDataError(
            f"{root}: expected Omniglot's {name}.zip or the folder {name}; give its folder with --data-root, or let"
            " torchvision fetch it with --download"
        )
    classes = class_folders(path, preprocessing, at_least=DRAWINGS)
    if len(classes) != CHARACTERS[part]:
        raise BadDataError(f"{path}: expected {CHARACTERS[part]} characters, got {len(classes)}; fetch Omniglot again")
    return classes


def _found(root: Path, name: str) -> Path | None:
    candidates = [folder / f"{name}{ending}" for folder in (root, root / "omniglot", root / "omniglot-py") for ending in (".zip", "")]
    return next((path for path in candidates if path.exists()), None)


def _download(root: Path, part: str) -> None:
    from torchvision.datasets import Omniglot

    try:
        Omniglot(str(root), background=part == "background", download=True)
    except (OSError, RuntimeError) as error:
        raise BadDataError(f"{root}: torchvision could not fetch Omniglot ({error}); download it by hand and use --data-root") from error


def _background_split(background: ClassInputs, evaluation: ClassInputs) -> dict[str, ClassInputs]:
    held_out = _of_alphabets(background, BACKGROUND_VALIDATION)
    train = [k for k in range(len(background)) if k not in set(held_out)]
    return {"train": background.only(train), "validation": background.only(held_out), "test": evaluation}


def _vinyals_split(background: ClassInputs, evaluation: ClassInputs) -> dict[str, ClassInputs]:
    kept = len(evaluation) - VINYALS_TEST
    rest = _joined(background, evaluation.only(range(kept)))
    held_out = _of_alphabets(rest, VINYALS_VALIDATION)
    train = [k for k in range(len(rest)) if k not in set(held_out)]
    return {"train": rest.only(train), "validation": rest.only(held_out), "test": evaluation.only(range(kept, len(evaluation)))}


SPLITS: Mapping[str, Callable[[ClassInputs, ClassInputs], dict[str, ClassInputs]]] = {
    "background": _background_split,
    "vinyals": _vinyals_split,
}


def _of_alphabets(classes: ClassInputs, alphabets: Sequence[str]) -> list[int]:
    return [index for index, name in enumerate(classes.names) if name.split("/")[0] in alphabets]


def _joined(left: ClassInputs, right: ClassInputs) -> ClassInputs:
    return ClassInputs.of(
        [(name, part.inputs[part.first[k] : part.first[k + 1]]) for part in (left, right) for k, name in enumerate(part.names)]
    )
