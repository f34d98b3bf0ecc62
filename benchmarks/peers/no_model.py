"""The floor of any server of FastAPI: the same routes, which read nothing and answer a constant.

Usage: python -m benchmarks.peers.no_model PORT
"""

import typer
import uvicorn
from fastapi import FastAPI

app = FastAPI()


@app.post("/sessions", status_code=201)
async def create() -> dict[str, object]:
    """Answer as if a session had been made."""
    return {"session": "0123456789abcdef"}


@app.post("/sessions/{session}/predict")
async def predict(session: str) -> dict[str, object]:
    """Answer as if a query had been classified."""
    return {"session": session, "predictions": [{"label": "a", "score": 1.0}]}


@app.get("/health")
async def health() -> dict[str, str]:
    """Say that requests are welcome."""
    return {"status": "ready"}


def main(port: int) -> None:
    """Serve on the loopback address."""
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    typer.run(main)
