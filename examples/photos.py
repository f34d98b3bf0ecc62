"""Tells your photographs apart: `python examples/photos.py FOLDER [URL]`, FOLDER with one folder of pictures for each thing.

Five pictures of each thing are learned from, and the others, twenty of each at most, are asked about.
"""

import sys
from pathlib import Path

from innerloop import Client

SHOTS, QUERIES = 5, 20


def main(folder: Path, url: str) -> None:
    pictures = {thing.name: sorted(thing.iterdir())[: SHOTS + QUERIES] for thing in sorted(folder.iterdir()) if thing.is_dir()}
    with Client(url) as client:
        session = client.adapt("photos", {name: files[:SHOTS] for name, files in pictures.items()}, name=folder.name)
        print(f"{session.info.model} learned {', '.join(session.labels)} from {SHOTS} pictures of each")
        print(f"leave-one-out accuracy {session.info.leave_one_out_accuracy:.0%}")

        asked = [(name, file) for name, files in pictures.items() for file in files[SHOTS:]]
        found = session.predict([file for _, file in asked], nearest=1).predictions
        right = sum(name == one.label for (name, _), one in zip(asked, found, strict=True))
        print(f"{right} of {len(asked)} other pictures are told apart, {right / len(asked):.0%}")

        least = min(range(len(found)), key=lambda place: found[place].margin)
        (name, file), one = asked[least], found[least]
        print(f"the closest call is {name}/{file.name}: {', '.join(f'{each.label} {each.score:.2f}' for each in one.top)}")
        print(f"of what was learned from it looks most like picture {one.nearest[0].id}, of {one.nearest[0].label}")
        session.delete()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000")
