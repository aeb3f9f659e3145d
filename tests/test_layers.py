"""Which part may import which: read from the source, and for what must stay light, tried in a fresh process."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(p for part in ("stream", "consumers", "producers") for p in (ROOT / part).glob("*.py"))
MODULES += sorted(ROOT.glob("*.py"))
NAMES = [str(p.relative_to(ROOT)) for p in MODULES]

# part → parts of this project that it must not import
FORBIDDEN = {
    "stream": {"consumers", "producers", "meander"},
    "consumers": {"producers", "meander"},
    "producers": {"consumers", "meander"},
}
THE_ONE_DOOR = "stream/kafka_bus.py"


def imported(path: Path) -> Iterator[str]:
    """Dotted names of everything that a module imports, at any depth: `from a import b` is `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tops(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported(path)}


@pytest.mark.parametrize("name", NAMES)
def test_layers(name: str) -> None:
    part = name.split("/")[0]
    assert tops(ROOT / name) & FORBIDDEN.get(part, set()) == set()
    assert "tests" not in tops(ROOT / name)


@pytest.mark.parametrize("name", [n for n in NAMES if n != THE_ONE_DOOR])
def test_one_module_imports_the_kafka_client(name: str) -> None:
    assert "kafka" not in tops(ROOT / name), f"only {THE_ONE_DOOR} may"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_never_imported(name: str) -> None:
    """River has a `stream` of its own; pickle and its kin run code from data."""
    names = set(imported(ROOT / name))
    assert "river.stream" not in names
    assert tops(ROOT / name) & {"pickle", "cloudpickle", "joblib", "dill", "shelve", "marshal"} == set()


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_loaded_that_could_run_code(name: str) -> None:
    calls = [
        f"{ast.unparse(node.func)}, line {node.lineno}"
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"torch.load", "torch.save", "eval", "exec"}
    ]
    assert calls == []


def loaded_by(statement: str) -> set[str]:
    """Top-level modules in memory after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["consumers.interest", "consumers.trigger"])
def test_the_light_consumers_load_no_torch(module: str) -> None:
    loaded = loaded_by(f"import {module}")
    assert loaded & {"torch", "transformers", "tokenizers", "kafka"} == set()


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith("stream/")])
def test_the_core_opens_no_files_or_sockets_at_import(name: str) -> None:
    """At module level stand definitions and constants: no loop, no `with`, no call whose result is dropped."""
    body = ast.parse((ROOT / name).read_text(encoding="utf-8")).body
    work = [
        ast.unparse(node)[:60]
        for node in body
        if isinstance(node, ast.For | ast.While | ast.With)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    ]
    assert work == []
