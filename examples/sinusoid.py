"""Adapts to ten points of a sine wave and predicts what lies between them: `python examples/sinusoid.py [URL]`."""

import math
import sys

from innerloop import Client

AMPLITUDE, PHASE = 3.0, 1.0


def wave(x: float) -> float:
    return AMPLITUDE * math.sin(x - PHASE)


def main(url: str) -> None:
    seen = [-4.5, -3.5, -2.0, -1.0, 0.0, 0.5, 1.5, 2.5, 3.5, 4.5]
    with Client(url) as client:
        session = client.adapt("sinusoid", ([[x] for x in seen], [wave(x) for x in seen]), steps=10)
        before, *_, after = session.info.losses
        print(f"{session.info.model} adapted to {len(seen)} points: loss {before:.2f} before, {after:.3f} after")
        asked = [-3.0, -0.5, 1.0, 3.0]
        for x, found in zip(asked, session.estimate([[x] for x in asked]).predictions, strict=True):
            print(f"x = {x:4.1f}: {found.target[0]:6.2f}, the wave is {wave(x):6.2f}")
        session.delete()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
