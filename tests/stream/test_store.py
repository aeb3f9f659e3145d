"""The model store: publishing, verification, and every fault as data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from stream.errors import BadRecord, SettingsError, StoreError
from stream.messages import ModelVersion, Ruling
from stream.settings import Store
from stream.store import ModelStore, Published


@pytest.fixture
def made(tmp_path: Path) -> Path:
    directory = tmp_path / "made"
    (directory / "space").mkdir(parents=True)
    (directory / "model.safetensors").write_bytes(b"weights" * 100)
    (directory / "space" / "space.json").write_text("{}")
    return directory


@pytest.fixture(params=["directory", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ModelStore:
    remote = f"memory://models-{uuid4().hex}"
    return ModelStore(Store(path=str(tmp_path / "models") if request.param == "directory" else remote, keep=2))


def record(name: str, published: Published | None, verdict: str = "promoted", space: str = "") -> ModelVersion:
    path, checksum = (published.path, published.checksum) if published else ("", "")
    parent = f"v{int(name[1:]) - 1}" if name != "v1" else ""
    return ModelVersion(
        name, verdict, parent, 0.0, 0.0, {}, "j", "clock", {}, path, checksum, space, 1, 1.0, 1, {}, 0.0
    )


def test_what_is_published_comes_back(store: ModelStore, made: Path) -> None:
    published = store.publish(made, "v3")
    assert published.path == f"v3-{published.checksum[:12]}"
    directory = store.fetch(record("v3", published))
    assert (directory / "model.safetensors").read_bytes() == b"weights" * 100
    assert (directory / "space" / "space.json").read_text() == "{}"


def test_publishing_again_changes_nothing(store: ModelStore, made: Path) -> None:
    first = store.publish(made, "v3")
    assert store.publish(made, "v3") == first
    (made / "model.safetensors").write_bytes(b"other")
    other = store.publish(made, "v3")
    assert other.path != first.path  # a version's directory is never written twice
    store.fetch(record("v3", first))


def _truncate(store: ModelStore, at: str) -> None:
    store.fs.pipe_file(f"{at}/model.safetensors", b"weights")


def _flip(store: ModelStore, at: str) -> None:
    content = bytearray(store.fs.cat_file(f"{at}/model.safetensors"))
    content[350] ^= 1
    store.fs.pipe_file(f"{at}/model.safetensors", bytes(content))


def _unready(store: ModelStore, at: str) -> None:
    store.fs.rm(f"{at}/READY")


def _lose(store: ModelStore, at: str) -> None:
    store.fs.rm(f"{at}/space/space.json")


def _forge(store: ModelStore, at: str) -> None:
    content = store.fs.cat_file(f"{at}/manifest.json")
    store.fs.pipe_file(f"{at}/manifest.json", content.replace(b"700", b"701"))


def _remove(store: ModelStore, at: str) -> None:
    store.fs.rm(at, recursive=True)


FAULTS: list[tuple[Callable[[ModelStore, str], None], str]] = [
    (_truncate, r"model\.safetensors is torn: it must have 700 bytes, got 7$"),
    (_flip, r"model\.safetensors is corrupt: SHA-256 must be [0-9a-f]{64}$"),
    (_unready, r"is torn: it has no READY; its writer was interrupted$"),
    (_lose, r"space/space\.json is missing$"),
    (_forge, r"manifest\.json is corrupt: SHA-256 must be [0-9a-f]{64}$"),
    (_remove, r"v3-[0-9a-f]{12} is missing$"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_a_damaged_version_is_refused(
    store: ModelStore, made: Path, fault: Callable[[ModelStore, str], None], message: str
) -> None:
    published = store.publish(made, "v3")
    fault(store, f"{store.root}/{published.path}")
    with pytest.raises(StoreError, match=message):
        store.fetch(record("v3", published))


def test_an_interrupted_publication_is_written_again(store: ModelStore, made: Path) -> None:
    published = store.publish(made, "v3")
    for fault in (_truncate, _unready):
        fault(store, f"{store.root}/{published.path}")
    assert store.publish(made, "v3") == published
    store.fetch(record("v3", published))


def test_what_was_not_kept_cannot_be_fetched(store: ModelStore) -> None:
    with pytest.raises(StoreError, match="v3 must have a path to be loaded; it was refused, and not kept"):
        store.fetch(record("v3", None, "refused"))


@pytest.mark.parametrize("path", ["../v3-0123456789ab", "v3", "v3-0123456789ab/..", "/etc"])
def test_a_path_cannot_leave_the_store(store: ModelStore, path: str) -> None:
    with pytest.raises(StoreError, match="version path must be like v7-0123456789ab, got"):
        store.fetch_path(path, "")


def test_names_and_contents_are_checked(store: ModelStore, made: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRecord, match="version must be v followed by a number"):
        store.publish(made, "seven")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match="must hold the files of v1, got none"):
        store.publish(tmp_path / "empty", "v1")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, made: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        ModelStore(Store(path=str(tmp_path / "file" / "models"))).publish(made, "v1")


def test_a_copy_lasts_until_the_next(made: Path) -> None:
    store = ModelStore(Store(path=f"memory://models-{uuid4().hex}"))
    first, second = (store.publish(made, name) for name in ("v1", "v2"))
    before = store.fetch(record("v1", first))
    again = store.fetch(record("v1", first))
    after = store.fetch(record("v2", second))
    assert (before, before.exists(), list(after.parent.iterdir())) == (again, False, [after])


@pytest.mark.parametrize(
    ("path", "package", "message"),
    [
        ("s3://b/m", "s3fs", r"^store\.path 's3://b/m' needs .* not installed: pip install 'meander\[s3\]'$"),
        ("gs://b/m", "gcsfs", r"pip install 'meander\[gcs\]'$"),
        ("az://c/m", "adlfs", r"pip install 'meander\[azure\]'$"),
        ("lakefs://r/m", "lakefs", r"^store\.path 'lakefs://r/m' needs .* not installed: .*lakefs"),
        ("shop://b/m", "", r"^store\.path 'shop://b/m' cannot be used: Protocol not known: shop$"),
    ],
)
def test_a_url_that_nothing_can_open(path: str, package: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # whether it is installed or not
    with pytest.raises(SettingsError, match=message):
        ModelStore(Store(path=path))


def test_what_others_do_is_seen(tmp_path: Path) -> None:
    assert ModelStore(Store(path=str(tmp_path))).fs.dircache.use_listings_cache is False


def test_prune_says_what_it_may_not_do(store: ModelStore, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str, recursive: bool) -> None:
        raise PermissionError(f"no right to remove {path}")

    published = [store.publish(made, name) for name in ("v1", "v2", "v3", "v4")]
    monkeypatch.setattr(store.fs, "rm", denied)
    with pytest.raises(StoreError, match=r"cannot be pruned: no right to remove .*v2-"):
        store.prune([record(f"v{n}", one) for n, one in enumerate(published, 1)])


def test_prune_keeps_what_somebody_needs(store: ModelStore, made: Path) -> None:
    published = {}
    for name in ("v1", "v2", "v3", "v4", "v5", "v6", "v7"):
        (made / "model.safetensors").write_text(name)
        published[name] = store.publish(made, name)
    verdicts = {"v5": "refused", "v6": "undecided"}
    records: list[ModelVersion | Ruling] = [
        record(name, published[name], verdicts.get(name, "promoted"), space="s1" if name == "v1" else "")
        for name in ("v1", "v2", "v3", "v4", "v5", "v6")
    ]
    removed = store.prune(records)
    # v1 ships the space, v3 and v4 are the newest two, v6 is in shadow, v7 is not on record yet
    assert [name.partition("-")[0] for name in removed] == ["v2", "v5"]
    store.fetch(record("v4", published["v4"]))
    assert store.prune(records) == []


def test_prune_of_an_empty_store(store: ModelStore) -> None:
    assert store.prune([]) == []
