"""Records into files. What somebody else wrote, or changed, is left as it is."""
from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from .formats import FORMATS
from .journal import Journal, write_atomically
from .records import REJECTED, Record


class Store:
    """A folder of annotations.

    Attributes:
        strange: files that hold what no run wrote there, and that were therefore left as they are.
    """

    def __init__(self, folder: Path, journal: Journal, kind: str, confidence: float, photos: Path):
        self.journal, self.confidence = journal, confidence
        self.strange: set[str] = set()
        self._folder = folder
        self._format = FORMATS[kind](journal.labels, confidence, photos.name)
        if kind == "yolo":  # by its custom the photos lie in images/, beside labels/
            with suppress(OSError):  # it is there, or the file system has no links
                (folder / "images").symlink_to(os.path.relpath(photos.resolve(), folder.resolve()))

    def file_of(self, name: str) -> str | None:
        """A photo's own file, as a path within the folder; None where the format has none."""
        return self._format.file_of(name)

    def put(self, record: Record, *, sync: bool = False) -> bool:
        """Journal first, then the photo's own file; neither, and False, where something else wrote it. Raises OutputError."""
        content, file = self._content(record), self.file_of(record.name)
        if self._is_strange(record.name, file, content):
            return False
        self.journal.add(record, _hash(content), sync=sync)
        self._write(record.name, file, content, sync)
        return True

    def put_all(self) -> None:
        """The files over all photos. Raises OutputError."""
        for file, content in self._over_all().items():
            if _hash(content) not in self.journal.hashes[file]:
                self.journal.about_to_write(file, _hash(content))
            self._write(file, file, content)

    def finish(self) -> None:
        """Make good what a kill came between, write the files over all photos, and put the journal in order."""
        records = self.journal.records
        now = {}
        for name, record in sorted(records.items()):
            content = self._content(record)
            self._write(name, self.file_of(name), content)
            now[name] = _hash(content)
        self.put_all()
        now.update((file, _hash(content)) for file, content in self._over_all().items())
        self.journal.compact(now)

    def _content(self, record: Record) -> bytes | None:
        """What the photo's own file holds; None where there should be none."""
        return None if record.verdict == REJECTED or not self.file_of(record.name) else self._format.one(record)

    def _over_all(self) -> dict[str, bytes]:
        return self._format.over_all([record for _, record in sorted(self.journal.records.items())])

    def _is_strange(self, key: str, file: str | None, content: bytes | None) -> bool:
        """Whether a file holds neither these contents nor what a run wrote there."""
        path = self._folder / file if file else None
        if path is None or not path.is_file():
            return False
        there = path.read_bytes()
        strange = there != content and _hash(there) not in self.journal.hashes[key]
        if strange:
            self.strange.add(file)
        return strange

    def _write(self, key: str, file: str | None, content: bytes | None, sync: bool = False) -> None:
        if file is None or self._is_strange(key, file, content):
            return
        path = self._folder / file
        if content is None:
            with suppress(FileNotFoundError):
                path.unlink()
        elif not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content, sync=sync)


def _hash(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()
