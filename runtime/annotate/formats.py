"""Records as files of the three usual formats. Each is a pure function of the record, so equal records give equal bytes.

* Pascal VOC: Annotations/<photo>.xml; pixels counted from 1, xmax and ymax inclusive, as in the VOC development kit
  (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html).
* COCO: annotations.json for all photos (https://cocodataset.org/#format-data); score is what COCO calls it in results.
* YOLO: labels/<photo>.txt, one `class x y width height` a line, centre and size as shares of the photo, and data.yaml
  (https://docs.ultralytics.com/datasets/detect/).
"""
from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Protocol

from .records import REJECTED, Record


class Format(Protocol):
    """One format, for one list of labels and one confidence."""

    def file_of(self, name: str) -> str | None:
        """Where the photo's own file goes, within the folder of annotations; None where there is none."""

    def one(self, record: Record) -> bytes:
        """What is in that file."""

    def over_all(self, records: Sequence[Record]) -> dict[str, bytes]:
        """The files over all photos: where they go and what is in them."""


class Voc:
    def __init__(self, labels: Sequence[str], confidence: float, photos: str):
        self._confidence = confidence

    def file_of(self, name: str) -> str:
        return str(PurePosixPath("Annotations", name).with_suffix(".xml"))

    def one(self, record: Record) -> bytes:
        width, height = record.size_wh
        path = PurePosixPath(record.name)
        top = ET.Element("annotation")
        _texts(top, folder=path.parent.name, filename=path.name)
        _texts(ET.SubElement(top, "size"), width=width, height=height, depth=3)
        _texts(top, segmented=0)
        for label, score, (x0, y0, x1, y1) in record.boxes(self._confidence):
            cut = int(x0 == 0 or y0 == 0 or x1 == width or y1 == height)
            thing = ET.SubElement(top, "object")
            _texts(thing, name=label, pose="Unspecified", truncated=cut, difficult=0, confidence=score)
            _texts(ET.SubElement(thing, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
        ET.indent(top)
        return ET.tostring(top, encoding="utf-8") + b"\n"

    def over_all(self, records: Sequence[Record]) -> dict[str, bytes]:
        return {}


def _texts(parent: ET.Element, **children: object) -> None:
    for tag, text in children.items():
        ET.SubElement(parent, tag).text = str(text)


class Yolo:
    def __init__(self, labels: Sequence[str], confidence: float, photos: str):
        self._labels, self._confidence = list(labels), confidence

    def file_of(self, name: str) -> str:
        return str(PurePosixPath("labels", name).with_suffix(".txt"))

    def one(self, record: Record) -> bytes:
        width, height = record.size_wh
        return b"".join(
            b"%d %.6f %.6f %.6f %.6f\n"
            % (self._labels.index(label), (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height)
            for label, _, (x0, y0, x1, y1) in record.boxes(self._confidence)
        )

    def over_all(self, records: Sequence[Record]) -> dict[str, bytes]:
        names = "".join(f"  {number}: {json.dumps(label)}\n" for number, label in enumerate(self._labels))
        return {"data.yaml": f"train: images\nval: images\nnames:\n{names}".encode()}


class Coco:
    def __init__(self, labels: Sequence[str], confidence: float, photos: str):
        self._labels, self._confidence, self._photos = list(labels), confidence, photos

    def file_of(self, name: str) -> None:
        return None

    def over_all(self, records: Sequence[Record]) -> dict[str, bytes]:
        images, annotations = [], []
        for record in records:
            if record.verdict == REJECTED:
                continue
            width, height = record.size_wh
            images.append({"id": len(images) + 1, "file_name": record.name, "width": width, "height": height})
            for label, score, (x0, y0, x1, y1) in record.boxes(self._confidence):
                annotations.append({
                    "id": len(annotations) + 1, "image_id": len(images), "category_id": self._labels.index(label) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0, "segmentation": [],
                    "score": score,
                })
        categories = [{"id": number, "name": label} for number, label in enumerate(self._labels, 1)]
        whole = {"info": {"description": self._photos}, "images": images, "annotations": annotations, "categories": categories}
        return {"annotations.json": json.dumps(whole, indent=1).encode() + b"\n"}


FORMATS = {"voc": Voc, "coco": Coco, "yolo": Yolo}
