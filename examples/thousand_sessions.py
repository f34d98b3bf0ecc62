"""Adapts a session for each of a thousand users and asks it once: `python examples/thousand_sessions.py [URL] [USERS]`.

Every user has two classes of their own, one drawing of each, and a new drawing to ask about.
"""

import asyncio
import random
import sys
import time
from pathlib import Path

from innerloop import AsyncClient

CHARACTERS = Path(__file__).parent / "characters"
NAMES = sorted(folder.name for folder in (CHARACTERS / "support").iterdir())
AT_ONCE = 32  # requests under way: enough to fill the server's batches
GROUP = "a thousand users"


async def main(url: str, users: int) -> None:
    free = asyncio.Semaphore(AT_ONCE)
    async with AsyncClient(url) as client:
        start = time.perf_counter()
        right = sum(await asyncio.gather(*(serve(client, user, free) for user in range(users))))
        seconds = time.perf_counter() - start
        print(f"{users:,} sessions adapted and asked in {seconds:.1f} s, {users / seconds:,.0f} a second; {right:,} answers are right")
        print(f"{await client.delete_sessions(confirm=True, name=GROUP):,} sessions deleted")


async def serve(client: AsyncClient, user: int, free: asyncio.Semaphore) -> bool:
    """Whether the user's new drawing is recognised."""
    dice = random.Random(user)  # noqa: S311 - no secret
    mine, other = dice.sample(NAMES, 2)
    support = {name: [CHARACTERS / "support" / name / f"{dice.randint(1, 5)}.png"] for name in (mine, other)}
    query = CHARACTERS / "queries" / f"{mine}-{dice.randint(1, 3)}.png"
    async with free:
        session = await client.adapt(None, support, name=GROUP)
        return (await session.predict([query], top_k=1)).predictions[0].label == mine


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000", int(sys.argv[2]) if len(sys.argv) > 2 else 1_000))
