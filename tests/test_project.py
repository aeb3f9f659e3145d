"""The project as a whole: what its pages say is true, and its files speak of the project alone."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from stream import events
from stream.settings import Settings

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [
    ROOT / name
    for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/LOG.md", "docs/operations.md")
]
TEXTS = {".py", ".md", ".toml", ".txt", ".yml", ".yaml", ".json", ".html", ".css", "", ".cfg"}


def files() -> list[Path]:
    """All files of the project: those git knows, or in an unpacked archive all but hidden ones."""
    known = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if known.returncode == 0 and known.stdout:
        return [path for name in known.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]
    return [p for p in ROOT.rglob("*") if p.is_file() and not any(q.startswith(".") for q in p.relative_to(ROOT).parts)]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_names_every_module_once() -> None:
    tree = README.partition("<!-- tree -->")[2].partition("<!-- /tree -->")[0]
    folder, listed = "", []
    for line in tree.strip().strip("`").strip().splitlines():
        name = line.split()[0]
        folder = name if name.endswith("/") else folder if line.startswith(" ") else ""
        listed.append(folder if name == folder else folder + name)
        assert len(line.split(maxsplit=1)) == 2, f"{name} has no line of its own"
    assert len(listed) == len(set(listed))
    assert [name for name in listed if not (ROOT / name).exists()] == []
    modules = {
        str(p.relative_to(ROOT)) for part in ("stream", "consumers", "producers") for p in (ROOT / part).glob("*.py")
    }
    assert {m for m in modules if not m.endswith("__init__.py")} <= set(listed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_named_in_the_pages_exist(page: Path) -> None:
    named = re.findall(
        r"`((?:stream|consumers|producers|tests|docs|deploy)/[\w./-]+)`", page.read_text(encoding="utf-8")
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_readme_settings_are_settings() -> None:
    (text,) = blocks("toml")
    read = Settings(**tomllib.loads(text))
    assert read.kafka.topics["interactions"] == "shop.clicks"


def test_the_readme_records_are_records() -> None:
    lines, recommendation = blocks("json")
    item, interaction, search = lines.splitlines()
    assert events.decode(events.Item, item.encode()).item_id == "85123A"
    assert events.decode(events.Interaction, interaction.encode()).block == "581475"
    assert events.decode(events.Interaction, search.encode()).user == {"country": "France"}
    assert events.decode(events.Recommendation, recommendation.encode()).items[0].because == ["85123A"]
    for erasure in re.findall(r"`erasures` \(`(.*?)`\)", README):
        assert events.decode(events.Erasure, json.dumps(json.loads(erasure)).encode()).user_id == "13069"


def test_make_help_lists_what_the_readme_names() -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert f"  make {target} " in helped


# spelled in two halves, so that this file does not break its own rule
FORBIDDEN = [
    "pypi" + ".org", "python" + "hosted", "pytorch" + ".org/whl", "hugging" + "face.co", "docker" + ".io",
    "/work" + "/", "/root" + "/", "TO" + "DO", "FIX" + "ME", "X" + "XX", "issue " + "#", "shared" + "/DESIGN",
]  # fmt: skip


def test_no_file_speaks_of_what_is_not_the_project() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in files()
        if path.suffix in TEXTS and path.name != "LICENSE"
        for word in FORBIDDEN
        if word in path.read_text(encoding="utf-8", errors="replace")
    ]
    assert found == []


@pytest.mark.parametrize("name", ["stream", "consumers", "producers"])
def test_what_all_names_is_there(name: str) -> None:
    for path in sorted((ROOT / name).glob("*.py")):
        if "__all__" in path.read_text(encoding="utf-8"):
            module = importlib.import_module(f"{name}.{path.stem}")
            assert [export for export in module.__all__ if not hasattr(module, export)] == []


def test_tests_stand_where_their_module_does() -> None:
    strays = [
        str(test.relative_to(ROOT))
        for part in ("stream", "consumers", "producers")
        for test in (ROOT / "tests" / part).glob("test_*.py")
        if not (ROOT / part / test.name.removeprefix("test_")).exists()
    ]
    assert strays == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    pinned = {
        line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    }
    wanted = project["dependencies"] + [w for extra in project["optional-dependencies"].values() for w in extra]
    names = {re.split(r"[\[<>=;~! ]", requirement)[0].lower() for requirement in wanted}
    assert names - {name.replace("_", "-") for name in pinned} == set()
