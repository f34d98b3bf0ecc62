"""The files around the code: versions, commands, containers, pages."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_constraints_are_names_and_exact_versions_only(pins: dict[str, str]) -> None:
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in pins)
    assert all(re.fullmatch(r"\d+(\.\d+)*(\.post\d+)?", version) for version in pins.values()), pins


def test_every_direct_dependency_is_pinned(project: dict[str, Any], pins: dict[str, str]) -> None:
    wanted = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    names = {canonical(re.split(r"[\[><=~!; ]", line)[0]) for line in wanted}
    assert names - {"innerloop"} <= {canonical(name) for name in pins}


def test_make_alone_lists_every_target_that_the_pages_name() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    pages = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", pages, flags=re.MULTILINE))
    assert {"serve", "test", "check", "train"} <= named
    assert named <= set(re.findall(r"^make ([a-z]+)", listed, flags=re.MULTILINE))


def test_every_relative_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in link]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []


def test_every_decision_record_is_listed() -> None:
    index = (ROOT / "docs/index.md").read_text()
    assert [record.name for record in (ROOT / "docs/adr").glob("*.md") if record.name not in index] == []


def test_the_image_is_built_only_from_what_the_ignore_file_lets_in() -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    let_in = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)
    assert sorted(" ".join(copied).split()) == sorted(let_in)


def test_the_compose_file_names_the_version_of_the_project(project: dict[str, Any]) -> None:
    assert f"image: innerloop:{project['version']}\n" in (ROOT / "docker-compose.yml").read_text()


def test_tracked_text_names_no_path_of_one_machine_and_no_package_index() -> None:
    places = "|".join(["/wo" + "rk/", "index" + "-url", "find" + "-links", "/ro" + "ot/"])  # split, so as not to find itself
    found = subprocess.run(["git", "grep", "-I", "-n", "-E", places], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == ""
