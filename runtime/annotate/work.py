"""What is done to each photo, here or on another machine: all that it needs is in a Job and a list of names."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..bundle import Bundle
from ..camera.images import PHOTO_SUFFIXES, photo_decoder
from ..errors import SourceError
from ..interpreter import load_networks
from ..pipeline import Pipeline
from .look import Looker
from .records import Record


@dataclass(frozen=True)
class Job:
    """photos: the folder, which every worker finds under this path; tighten, label: as Looker's."""

    bundle: Bundle
    photos: Path
    tighten: str
    label: str | None


class Unreadable(NamedTuple):
    """A photo that could not be read, and why."""

    name: str
    reason: str


def list_photos(folder: Path, without: Path) -> list[str]:
    """Names of all photos under `folder`, sorted, with `/`; those under the folder `without` are none. Raises SourceError."""
    if not folder.is_dir():
        raise SourceError("no such folder", given=folder, expected="a folder of photos, in folders of any depth")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
    names = [path.relative_to(folder).as_posix() for path in found if without.resolve() not in path.resolve().parents]
    if not names:
        endings = ", ".join(sorted(PHOTO_SUFFIXES))
        raise SourceError("no photo in the folder", given=folder, expected=f"files ending in {endings}")
    return names


def annotate(job: Job, names: Sequence[str]) -> Iterator[Record | Unreadable]:
    """One record a name, in their order. Raises SourceError where no photo can be read at all, InterpreterError."""
    decode = photo_decoder()
    look = Looker(Pipeline(job.bundle, load_networks(job.bundle)), job.tighten, job.label)
    for name in names:
        try:
            photo_rgb = decode(job.photos / name)
        except SourceError as error:
            yield Unreadable(name, str(error))
            continue
        score, instances = look(photo_rgb)
        yield Record(name, (photo_rgb.shape[1], photo_rgb.shape[0]), score, tuple(instances))
