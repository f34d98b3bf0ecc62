"""Tells your photographs apart: `python examples/photos.py FOLDER [URL]`, FOLDER with one folder of pictures for each thing.

Five pictures of each thing are learned from, and the others, twenty of each at most, are asked about.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from innerloop import Client, InnerloopError, Session

SHOTS, QUERIES = 5, 20


def main(folder: Path, url: str | None) -> None:
    if not folder.is_dir():
        sys.exit(f"expected a folder at {folder}, with one folder of pictures for each thing")
    pictures = {thing.name: pictures_in(thing)[: SHOTS + QUERIES] for thing in sorted(folder.iterdir()) if thing.is_dir()}
    if few := [f"{name} has {len(files)}" for name, files in pictures.items() if len(files) <= SHOTS]:
        sys.exit(f"expected at least {SHOTS + 1} pictures of each thing in {folder}: {', '.join(few)}; add some, or take the folder away")
    with Client(url) as client:
        session = client.adapt("photos", {name: files[:SHOTS] for name, files in pictures.items()}, name=folder.name)
        try:
            print(f"{session.info.model} learned {', '.join(session.labels)} from {SHOTS} pictures of each")
            print(f"leave-one-out accuracy {session.info.leave_one_out_accuracy:.0%}")
            ask(session, pictures)
        finally:
            session.delete()


def pictures_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if not file.name.startswith("."))


def ask(session: Session, pictures: Mapping[str, Sequence[Path]]) -> None:
    asked = [(name, file) for name, files in pictures.items() for file in files[SHOTS:]]
    found = session.predict([file for _, file in asked], nearest=1).predictions
    right = sum(name == one.label for (name, _), one in zip(asked, found, strict=True))
    print(f"{right} of {len(asked)} other pictures are told apart, {right / len(asked):.0%}")

    least = min(range(len(found)), key=lambda place: found[place].margin)
    (name, file), one = asked[least], found[least]
    print(f"the closest call is {name}/{file.name}: {', '.join(f'{each.label} {each.score:.2f}' for each in one.top)}")
    print(f"of what was learned from it looks most like picture {one.nearest[0].id}, of {one.nearest[0].label}")


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        print(f"usage: python {sys.argv[0]} FOLDER [URL]", file=sys.stderr)
        sys.exit(2)
    try:
        main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
    except InnerloopError as error:
        sys.exit(str(error))
