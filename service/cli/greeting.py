"""What the server says when it is ready."""

from pathlib import Path

from fastapi import FastAPI
from rich.console import Console

EXAMPLES = Path("examples/characters")


def greeting(url: str, app: FastAPI) -> str:
    """Say where the server is and how to try it."""
    catalog = app.state.runtime.catalog
    served = ", ".join(each.reference for each in catalog.served) or "no meta-model"
    lines = [f"Innerloop serves {served} on {app.state.device} at {url} (a playground for a browser; {url}/docs describes every call)"]
    if catalog.default == "omniglot" and EXAMPLES.is_dir():
        names = sorted(folder.name for folder in (EXAMPLES / "support").iterdir())
        examples = [f"  -F labels={name} -F images=@{EXAMPLES}/support/{name}/1.png" for name in names]
        queries = [f"  -F queries=@{EXAMPLES}/queries/{name}-1.png" for name in names[:2]]
        lines += ["Try it:", "", " \\\n".join([f"curl -s {url}/v1/predict", *examples, *queries]), ""]
    return "\n".join(lines)


def greet(text: str) -> None:
    """Print a greeting as it is, never wrapped: its command is to be copied."""
    Console().print(text, markup=False, highlight=False, soft_wrap=True)
