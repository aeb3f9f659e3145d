"""Published versions: immutable directories with checksums, on any file system that fsspec reaches.

A version's directory holds its files, then `manifest.json` with the SHA-256 of each, then `READY` with the SHA-256 of
the manifest. `READY` is written last, so that a directory without it is one whose writer was interrupted. Nothing is
renamed on object stores: there a file appears whole or not at all.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from stream import versions
from stream.errors import SettingsError, StoreError
from stream.messages import ModelVersion, Ruling
from stream.settings import Store

MANIFEST, READY = "manifest.json", "READY"
FORMAT = 1
EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure"}  # by the URL's protocol
_NAME = re.compile(r"(v[1-9][0-9]*)-[0-9a-f]{12}\Z")  # version, and the head of its checksum


@dataclass(frozen=True, slots=True)
class Published:
    """Where a version lies (`ModelVersion.path`) and what it must weigh in at (`ModelVersion.checksum`)."""

    path: str  # directory below the store's root
    checksum: str  # SHA-256 of its manifest


class ModelStore:
    """The store of `settings.store`.

    Raises:
        SettingsError: its path is a URL that nothing installed can open; the text names the extra that can.

    >>> import tempfile
    >>> box = Path(tempfile.mkdtemp())
    >>> made = box / "made"
    >>> made.mkdir()
    >>> _ = (made / "config.json").write_text("{}")
    >>> store = ModelStore(Store(path=str(box / "models")))
    >>> published = store.publish(made, "v1")
    >>> sorted(p.name for p in store.fetch_path(published.path, published.checksum).iterdir())
    ['READY', 'config.json', 'manifest.json']
    """

    def __init__(self, store: Store) -> None:
        self.fs, self.root = _opened(store.path)
        self.keep = store.keep
        self._local = isinstance(self.fs, LocalFileSystem)
        self._copies: Path | None = None  # where files from a remote store are put

    def publish(self, directory: Path, version: str) -> Published:
        """Copy the files of `directory` into a new version directory.

        1. Sums of all files go into a manifest, whose own sum names the directory: publishing the same again changes
        nothing. 2. Files, then the manifest, are written and synced. 3. READY is written last.

        Raises:
            StoreError: the store cannot be written to.
        """
        manifest = _manifest(directory, version)  # 1
        checksum = hashlib.sha256(manifest).hexdigest()
        published = Published(f"{version}-{checksum[:12]}", checksum)
        try:
            if not self.fs.exists(self._at(published.path, READY)):
                self._write(directory, published, manifest)  # 2, 3
        except OSError as error:
            raise StoreError(f"{self._at(published.path)} cannot be written: {error}") from error
        return published

    def fetch(self, version: ModelVersion) -> Path:
        """A local directory with the files of `version`, all sums verified.

        Those of a remote store are copied: the copy lasts until the next fetch, or the process's end.

        Raises:
            StoreError: it was not kept, or is missing, torn or corrupt; the text names the file.
        """
        if not version.path:
            raise StoreError(f"{version.version} must have a path to be loaded; it was {version.verdict}, and not kept")
        return self.fetch_path(version.path, version.checksum)

    def fetch_path(self, path: str, checksum: str) -> Path:
        """The same, by path and checksum."""
        if _NAME.match(path) is None:
            raise StoreError(f"version path must be like v7-0123456789ab, got {path!r}")
        try:
            return self._verified(path, checksum)
        except FileNotFoundError as error:
            raise StoreError(f"{self._at(path)} is missing: {error}") from None
        except OSError as error:
            raise StoreError(f"{self._at(path)} cannot be read: {error}") from error

    def prune(self, records: Iterable[ModelVersion | Ruling]) -> list[str]:
        """Remove directories that nobody needs; the names of what went.

        Kept are the newest `store.keep` promoted versions that stand, a candidate in shadow, every version that ships
        a drift space, the first (reference) version, and what is newer than all records.

        Raises:
            StoreError: the store cannot be listed, or refuses to remove.
        """
        known = list(records)
        wanted = self._wanted(known)
        newest = max((versions.number(r.version) for r in known), default=0)
        removed = []
        try:
            for name in self._names():
                match = _NAME.match(name)
                if match and name not in wanted and versions.number(match.group(1)) <= newest:
                    self.fs.rm(self._at(name), recursive=True)
                    removed.append(name)
        except OSError as error:
            raise StoreError(f"{self.root} cannot be pruned: {error}") from error
        return removed

    def _wanted(self, records: list[ModelVersion | Ruling]) -> set[str]:
        made = [r for r in records if isinstance(r, ModelVersion) and r.path]
        wanted = {v.path for v in made if v.space or versions.number(v.version) == 1}
        candidate = versions.shadow(records)
        if candidate is not None:
            wanted.add(candidate.path)
        rest: list[ModelVersion | Ruling] = list(records)
        for _ in range(self.keep):
            best = versions.live(rest)
            if best is None:
                break
            wanted.add(best.path)
            rest = [
                r for r in rest if isinstance(r, Ruling) or versions.number(r.version) < versions.number(best.version)
            ]
        return wanted

    def _names(self) -> list[str]:
        if not self.fs.exists(self.root):
            return []
        return sorted(PurePosixPath(path).name for path in self.fs.ls(self.root, detail=False))

    def _at(self, *parts: str) -> str:
        return "/".join((self.root, *parts))

    def _write(self, directory: Path, published: Published, manifest: bytes) -> None:
        target = self._at(published.path)
        if self.fs.exists(target):
            self.fs.rm(target, recursive=True)  # a writer was interrupted before READY
        partial = self._at(f".partial-{published.path}-{os.getpid()}") if self._local else target
        for name in sorted(json.loads(manifest)["files"]):
            self._put(f"{partial}/{name}", (directory / name).read_bytes())
        self._put(f"{partial}/{MANIFEST}", manifest)
        if self._local:
            os.replace(partial, target)
            _sync_directory(Path(self.root))
        self._put(f"{target}/{READY}", f"{published.checksum}\n".encode())

    def _put(self, path: str, content: bytes) -> None:
        """Write one file: on a local file system beside its place, synced, then renamed into it."""
        self.fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        if not self._local:
            self.fs.pipe_file(path, content)
            return
        beside = f"{path}.partial"
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync_directory(Path(path).parent)

    def _verified(self, path: str, checksum: str) -> Path:
        where = self._at(path)
        if not self.fs.exists(where):
            raise StoreError(f"{where} is missing")
        if not self.fs.exists(self._at(path, READY)):
            raise StoreError(f"{where} is torn: it has no {READY}; its writer was interrupted")
        manifest = self.fs.cat_file(self._at(path, MANIFEST))
        if hashlib.sha256(manifest).hexdigest() != checksum:
            raise StoreError(f"{where}/{MANIFEST} is corrupt: SHA-256 must be {checksum}")
        local = Path(where) if self._local else self._copy(path)
        for name, entry in json.loads(manifest)["files"].items():
            self._check(path, name, entry, local)
        return local

    def _copy(self, path: str) -> Path:
        """An empty directory for the copy of a version; the copy before it goes, so that a disk does not fill up."""
        if self._copies is None:
            self._copies = Path(tempfile.mkdtemp(prefix="meander-models-"))
            atexit.register(shutil.rmtree, self._copies, ignore_errors=True)
        for before in self._copies.iterdir():
            shutil.rmtree(before)
        (self._copies / path).mkdir()
        return self._copies / path

    def _check(self, path: str, name: str, entry: dict[str, Any], local: Path) -> None:
        """Verify one file; from a remote store, bring it."""
        where = self._at(path, name)
        if not self.fs.exists(where):
            raise StoreError(f"{where} is missing")
        content = self.fs.cat_file(where)
        if len(content) != entry["bytes"]:
            raise StoreError(f"{where} is torn: it must have {entry['bytes']} bytes, got {len(content)}")
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise StoreError(f"{where} is corrupt: SHA-256 must be {entry['sha256']}")
        if not self._local:
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(content)


def _opened(path: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path on it.

    Directory listings are not cached: other processes publish and prune.
    """
    try:
        fs, root = fsspec.core.url_to_fs(path, use_listings_cache=False)
    except ImportError as error:
        extra = EXTRAS.get(path.partition("://")[0])
        cure = f"pip install 'meander[{extra}]'" if extra else str(error)
        raise SettingsError(f"store.path {path!r} needs a package that is not installed: {cure}") from None
    except ValueError as error:  # a protocol that nobody knows, or credentials that are not there
        raise SettingsError(f"store.path {path!r} cannot be used: {error}") from None
    return fs, root.rstrip("/")


def _manifest(directory: Path, version: str) -> bytes:
    versions.number(version)  # refuses what is no version's name
    files = {}
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        content = path.read_bytes()
        name = path.relative_to(directory).as_posix()
        files[name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    if not files:
        raise StoreError(f"{directory} must hold the files of {version}, got none")
    manifest = {"format": FORMAT, "version": version, "files": files}
    return (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()


def _sync_directory(directory: Path) -> None:
    """Make renames in `directory` last through a loss of power."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
