"""The generated pages are what the code says, and their examples obey the schemas."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import jsonschema
import msgspec
import pytest
from pydantic import BaseModel

from stream import events
from stream.errors import BadRecord
from stream.settings import Settings
from stream.topics import TOPICS

ROOT = Path(__file__).parents[1]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate = _generator()
EXAMPLES = [(kind, example) for kind, examples in generate.EXAMPLES.items() for example in examples]


@pytest.mark.parametrize("page", sorted(generate.PAGES))
def test_the_pages_are_up_to_date(page: str) -> None:
    written = (ROOT / page).read_text(encoding="utf-8")
    assert written == generate.PAGES[page]().rstrip() + "\n", "run: make docs"


def test_check_tells_a_stale_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PAGES", {"docs/settings.md": generate.settings_page})
    assert generate.main(["--check"]) == 1
    assert "out of date: docs/settings.md; run python docs/generate.py" in capsys.readouterr().err
    assert list((tmp_path / "docs").iterdir()) == []
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize("kind", generate.EXAMPLES, ids=lambda kind: kind.__name__)
def test_the_schemas_are_schemas(kind: type[msgspec.Struct]) -> None:
    jsonschema.Draft202012Validator.check_schema(generate.schema(kind))


@pytest.mark.parametrize(("kind", "example"), EXAMPLES, ids=lambda part: getattr(part, "__name__", ""))
def test_an_example_obeys_its_schema_and_is_read_back(kind: type[msgspec.Struct], example: msgspec.Struct) -> None:
    wire = events.encode(example)
    jsonschema.validate(json.loads(wire), generate.schema(kind))
    assert events.decode(kind, wire) == example


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (events.Interaction, {"event_id": "e", "user_id": "ann", "at": 0}),
        (events.Interaction, {"event_id": "e", "user_id": "ann", "at": 0, "item_id": None, "text": " ", "user": {}}),
        (events.Interaction, {"event_id": "e", "user_id": "ann", "at": 0, "item_id": "mug", "user": {"": "x"}}),
        (events.Interaction, {"event_id": "", "user_id": "ann", "item_id": "mug", "at": 0}),
        (events.Item, {"item_id": "mug", "embedding": ["x"]}),
        (events.Erasure, {"user_id": "ann", "at": 0, "schema_version": 0}),
    ],
)
def test_schema_and_reader_refuse_the_same(kind: type[msgspec.Struct], wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, generate.schema(kind))
    with pytest.raises(BadRecord):
        events.decode(kind, json.dumps(wrong).encode())


def test_every_outside_type_has_an_example() -> None:
    outside = {row.schema for row in TOPICS.values() if row.schema and row.schema.__module__ == "stream.events"}
    assert set(generate.EXAMPLES) == outside


def test_every_field_of_a_message_is_listed() -> None:
    page = generate.topics_page()
    for kind in generate.messages.Message.__args__:
        section = page.partition(f"### {kind.__name__}\n")[2].partition("\n### ")[0]
        listed = [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        assert listed == list(kind.__struct_fields__)


def test_every_setting_says_what_it_means() -> None:
    for section, table in Settings.model_fields.items():
        if isinstance(table.annotation, type) and issubclass(table.annotation, BaseModel):
            mute = [name for name, field in table.annotation.model_fields.items() if not field.description]
            assert mute == [], f"[{section}] lacks descriptions"
