"""Adapts to the drawings of this folder, judges the queries, then adds a class: `python examples/drawings.py [URL]`."""

import sys
from pathlib import Path

from innerloop import Client

CHARACTERS = Path(__file__).parent / "characters"


def main(url: str) -> None:
    queries = sorted((CHARACTERS / "queries").glob("*.png"))
    with Client(url) as client:
        session = client.adapt(None, CHARACTERS / "support", name="drawings")
        print(f"{session.info.model} adapted to {sum(session.info.shots.values())} drawings of {', '.join(session.labels)}")
        print(f"leave-one-out accuracy {session.info.leave_one_out_accuracy:.0%}")

        predictions = session.predict(queries).predictions
        right = sum(query.name.startswith(one.label) for query, one in zip(queries, predictions, strict=True))
        print(f"{right} of {len(queries)} new drawings are told apart")

        # Two of the anchors' queries become a class of their own: from now on they are something else.
        grown = session.add({"buoy": queries[:2]})
        print(f"revision {grown.revision} knows {', '.join(grown.labels)} and takes {queries[0].name} for: ", end="")
        print(", ".join(f"{each.label} {each.score:.2f}" for each in grown.predict(queries[:1], top_k=2).predictions[0].top))
        session.delete()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
