"""The journal of a folder of annotations: one JSON object a line, the later counts, so that a killed run loses nothing.

    {"annotate": 1, "settings": {...}, "labels": [...]}        how what follows is made; what nobody reviewed is made anew
    {"name": "gu/1.jpg", "size_wh": [320, 240], ..., "sha256": "..."}       a photo, and what its own file is about to hold
    {"file": "annotations.json", "sha256": "..."}                           what a file over all photos is about to hold
"""
from __future__ import annotations

import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import OutputError, UsageError
from .records import Record

NAME = "annotate.jsonl"
SCHEMA = 1
FULL = "Is the disk full?"
OTHER_FOLDER = "Choose another folder with --out."


class Journal:
    """Open in one run at a time.

    Args:
        settings: what decides the results; a journal made with others is refused unless `again` is set.
        labels: every label there is, in the order of their numbers; those a reviewer used before are added.

    Attributes:
        records: name -> what is known now.
        labels: as above.
        hashes: a photo's name, or a file over all photos -> sha256 of all that the file may hold if nobody else wrote it.

    Raises:
        UsageError: made with other settings, damaged, or open in another run.
        OutputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], labels: Sequence[str], *, again: bool = False):
        self.records: dict[str, Record] = {}
        self.labels = list(labels)
        self.hashes: dict[str, set[str]] = defaultdict(set)
        self._path, self._settings = folder / NAME, settings
        self._before: dict[str, Any] | None = None
        self._lock = _lock(folder)
        try:
            self._read()
            if not again and self._before not in (None, settings):
                raise _made_otherwise(folder, settings, self._before)
            if again:
                self._forget_unreviewed()
            used = [i.label for name in sorted(self.records) for i in self.records[name].instances]
            self.labels = list(dict.fromkeys([*labels, *used]))
            self._lines = self._path.open("ab")
            if again or self._before is None:
                self._append(self._header())
        except BaseException:
            os.close(self._lock)
            raise

    def _read(self) -> None:
        """Take every line. What a kill left of a last line is cut off: that photo is done again."""
        content = self._path.read_bytes() if self._path.exists() else b""
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(self._path, whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError) as error:
                raise UsageError(f"{self._path}, line {number}: damaged", given=line[:80].decode("utf-8", "replace"),
                                 expected="what `annotate` wrote there", remedy=OTHER_FOLDER) from error

    def _take(self, fields: dict[str, Any]) -> None:
        if fields.get("annotate") == SCHEMA:
            self._before = fields["settings"]
            self._forget_unreviewed()
            return
        if "name" in fields:
            self.records[fields["name"]] = Record.from_json(fields)
        self.hashes[fields["name"] if "name" in fields else fields["file"]].add(fields["sha256"])

    def _forget_unreviewed(self) -> None:
        self.records = {name: record for name, record in self.records.items() if record.verdict}

    def add(self, record: Record, sha256: str, *, sync: bool = False) -> None:
        """Remember a record, and what its file is about to hold. `sync`: wait until the disk has it. Raises OutputError."""
        self._append({**record.to_json(), "sha256": sha256}, sync)
        self.records[record.name] = record
        self.hashes[record.name].add(sha256)

    def about_to_write(self, file: str, sha256: str) -> None:
        """The same for a file over all photos."""
        self._append({"file": file, "sha256": sha256})
        self.hashes[file].add(sha256)

    def _append(self, fields: dict[str, Any], sync: bool = False) -> None:
        try:
            self._lines.write(json.dumps(fields).encode() + b"\n")
            self._lines.flush()
            if sync:
                os.fsync(self._lines.fileno())
        except OSError as error:
            raise OutputError(f"{self._path} cannot be written", given=error, remedy=FULL) from error

    def compact(self, now: dict[str, str]) -> None:
        """Write the journal anew, in order: it then says the same however the run went.

        now: sha256 of each photo's own file and of each file over all photos, as they are by now.
        """
        self._lines.close()
        lines = [self._header()]
        lines += [{**self.records[name].to_json(), "sha256": now[name]} for name in sorted(self.records)]
        lines += [{"file": file, "sha256": now[file]} for file in sorted(now.keys() - self.records.keys())]
        write_atomically(self._path, b"".join(json.dumps(line).encode() + b"\n" for line in lines), sync=True)
        self._lines = self._path.open("ab")

    def _header(self) -> dict[str, Any]:
        return {"annotate": SCHEMA, "settings": self._settings, "labels": self.labels}

    def close(self) -> None:
        self._lines.close()
        os.close(self._lock)


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written", given=error, remedy=OTHER_FOLDER) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise UsageError("another run is at work", given=folder, expected="one at a time in a folder",
                         remedy=OTHER_FOLDER) from error
    return lock


def _made_otherwise(folder: Path, settings: dict[str, Any], before: dict[str, Any]) -> UsageError:
    different = sorted(key for key in settings if before.get(key) != settings[key])
    return UsageError(
        f"{folder} was annotated otherwise", given=", ".join(f"{key} {settings[key]}" for key in different),
        expected=", ".join(f"{key} {before.get(key)}" for key in different),
        remedy="Choose another folder with --out, or annotate all but the reviewed photos anew with --again.",
    )


def write_atomically(path: Path, content: bytes, *, sync: bool = False) -> None:
    """A reader, and a run after a kill, sees the old contents or the new, never a part.

    sync: wait until the disk has it, so that this holds after a power cut too. Raises OutputError.
    """
    aside = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written", given=error, remedy=FULL) from error
