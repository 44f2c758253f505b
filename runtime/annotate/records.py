"""What is known about a photo, and its life as a line of JSON."""
from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..results import Box

KEPT, FIXED, REJECTED = VERDICTS = ("kept", "fixed", "rejected")


class Instance(NamedTuple):
    """One thing in a photo: its label, a score from 0 to 1, and its box in pixels of the upright photo."""

    label: str
    score: float
    box_xyxy: Box


@dataclass(frozen=True)
class Record:
    """One photo.

    Attributes:
        name: its path within the folder of photos, with `/`.
        size_wh: pixels, after it was turned upright by its EXIF tag.
        score: of the photo's own label, which may be `none`.
        instances: all that was found, surest first; of a reviewed photo, all that the reviewer left there.
        verdict: one of VERDICTS, "" as long as nobody has looked.
    """

    name: str
    size_wh: tuple[int, int]
    score: float
    instances: tuple[Instance, ...]
    verdict: str = ""

    def boxes(self, confidence: float) -> tuple[Instance, ...]:
        """The instances that are written: those sure enough, or what the reviewer left."""
        if self.verdict == REJECTED:
            return ()
        return self.instances if self.verdict else tuple(i for i in self.instances if i.score >= confidence)

    def sureness(self, confidence: float) -> float:
        """0 to 1, how little a person is needed: the least score of what is written, and of leaving out what is not."""
        doubts = [1 - i.score if i.score >= confidence else i.score for i in self.instances]
        return 1 - max(doubts, default=1 - self.score)

    def reviewed(self, verdict: str, instances: tuple[Instance, ...]) -> Record:
        """The same photo after a person has looked at it."""
        return replace(self, verdict=verdict, instances=instances)

    def to_json(self) -> dict[str, Any]:
        instances = [{"label": i.label, "score": i.score, "box_xyxy": list(i.box_xyxy)} for i in self.instances]
        return {"name": self.name, "size_wh": list(self.size_wh), "score": self.score, "verdict": self.verdict,
                "instances": instances}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Record:
        """Raises KeyError, TypeError, ValueError for anything but what to_json gives."""
        instances = (Instance(i["label"], i["score"], Box(*i["box_xyxy"])) for i in fields["instances"])
        return cls(fields["name"], tuple(fields["size_wh"]), fields["score"], tuple(instances), fields["verdict"])
