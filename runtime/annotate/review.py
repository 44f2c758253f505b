"""The review page's server: photos with their boxes, the least sure first, and verdicts back. Standard library only.

    GET  /                    the page; with ?token=... it also leaves the token with the browser as a cookie
    GET  /review.css, .js     its parts
    GET  /photos              JSON: labels, confidence, and every photo's record, the least sure first
    GET  /photo?name=NAME     the photo itself, or as JPEG what browsers cannot show
    POST /verdict             JSON {name, verdict, instances}; answers with the record that is now in the journal and in the
                              file, or with a line that says what is wrong. kept: every box that is shown; rejected: the
                              photo is left out; fixed: the boxes are `instances`, each {label, box_xyxy}
"""
from __future__ import annotations

import json
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.server import ThreadingHTTPServer
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from ..camera.images import photo_decoder
from ..display.pictures import PictureMaker
from ..display.server import KINDS, LOOPBACK, SAFE_HEADERS, Access, PageServer
from ..display.server import Handler as PageHandler
from ..display.web import THEME, TOKEN_BYTES, page_url
from ..errors import EdgeError, UsageError
from ..results import Box
from .records import FIXED, VERDICTS, Instance, Record
from .store import Store

HERE = Path(__file__).parent
FILES = {"/": HERE / "review.html", "/review.css": HERE / "review.css", "/review.js": HERE / "review.js", "/theme.css": THEME}
PHOTO_KINDS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".bmp": "image/bmp"}
POLICY = {name: value.replace("img-src", "img-src 'self'") for name, value in SAFE_HEADERS.items() if "Content-Sec" in name}
MOST_BYTES = 1 << 20  # of a verdict
BY_HAND = 1.0  # the score of a box that a person drew


class Reviewer:
    """What the page may ask for; several requests at once are taken one after the other."""

    def __init__(self, store: Store, photos: Path, names: Sequence[str]):
        self._store, self._photos = store, photos
        self._lock = Lock()
        records = [store.journal.records[name] for name in names if name in store.journal.records]
        self._names = [r.name for r in sorted(records, key=lambda record: record.sureness(store.confidence))]

    def overview(self) -> dict[str, Any]:
        with self._lock:
            records = [self._store.journal.records[name] for name in self._names]
        return {"labels": self._store.journal.labels, "confidence": self._store.confidence,
                "photos": [record.to_json() for record in records]}

    def photo(self, name: str) -> tuple[bytes, str] | None:
        """Bytes and MIME type of a photo that has a record; None for any other name."""
        if name not in self._store.journal.records:
            return None
        path = self._photos / name
        kind = PHOTO_KINDS.get(path.suffix.lower())
        if kind:
            return path.read_bytes(), kind
        return PictureMaker()(photo_decoder()(path)).data, "image/jpeg"  # by what decoded it, TIFF needs one

    def judge(self, fields: dict[str, Any]) -> Record:
        """Take a verdict; returns the record as it is now. Raises ValueError with what is wrong with it, OutputError."""
        with self._lock:
            record = self._store.journal.records.get(fields.get("name"))
            if record is None:
                raise ValueError(f"no photo of the name {fields.get('name')!r}")
            verdict = fields.get("verdict")
            if verdict not in VERDICTS:
                raise ValueError(f"given verdict {verdict!r}, expected one of {', '.join(VERDICTS)}")
            left = record.instances
            if verdict == FIXED:
                left = tuple(self._instance(each, record) for each in fields.get("instances", ()))
            judged = record.reviewed(verdict, left)
            if not self._store.put(judged, sync=True):
                raise ValueError("its file was changed by something else and is left as it is; move it away, then run again")
            self._store.put_all()
            return judged

    def _instance(self, fields: dict[str, Any], record: Record) -> Instance:
        """A box from the page; one that is as it was keeps its score."""
        label, corners = fields.get("label"), fields.get("box_xyxy")
        if label not in self._store.journal.labels:
            raise ValueError(f"given label {label!r}, expected one of {', '.join(self._store.journal.labels)}")
        if not (isinstance(corners, list) and len(corners) == 4 and all(type(value) is int for value in corners)):
            raise ValueError(f"given box {corners!r}, expected four whole numbers")
        box, (width, height) = Box(*corners), record.size_wh
        if not (0 <= box.x0 < box.x1 <= width and 0 <= box.y0 < box.y1 <= height):
            raise ValueError(f"given box {corners}, expected one inside {width}x{height} pixels")
        found = [i.score for i in record.instances if (i.label, i.box_xyxy) == (label, box)]
        return Instance(label, found[0] if found else BY_HAND, box)


class ReviewServer(ThreadingHTTPServer):
    """Serves from `serve_forever` on. Raises OSError when it cannot listen."""

    daemon_threads = True

    def __init__(self, host: str, port: int, reviewer: Reviewer):
        self.reviewer = reviewer
        self.files = {path: (file.read_bytes(), KINDS[file.suffix]) for path, file in FILES.items()}
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, *_, (address, _, *scope) = found[0]
        super().__init__((address, port, *scope), Handler)
        self.access = Access(None if host in LOOPBACK else secrets.token_urlsafe(TOKEN_BYTES), self.server_port)
        self.url = page_url(host, self.server_port, self.access.token)

    server_bind = PageServer.server_bind

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # a viewer who left is no news
            super().handle_error(request, client_address)


class Handler(PageHandler):
    """The live page's manners, other answers."""

    server: ReviewServer

    def _answered(self, path: str, query: dict[str, list[str]]) -> bool:
        if path == "/photos":
            self._answer(200, json.dumps(self.server.reviewer.overview()).encode(), "application/json")
        elif path == "/photo":
            self._answer_photo(query.get("name", [""])[0])
        elif path in self.server.files:
            self._answer_file(path, POLICY)
        else:
            return False
        return True

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True  # what the body holds is not read
            self._answer(413 if length.isdecimal() else 411, b"Expected a verdict.\n")
            return
        body = self.rfile.read(int(length))
        if not self._admitted(parse_qs(self.path.partition("?")[2])):
            return
        if not Access.same_origin(self.headers.get("Origin"), self.headers.get("Host", "")):
            self._answer(403, b"Verdicts are taken from this page only.\n")
        elif self.path.partition("?")[0] != "/verdict":
            self._answer(404, b"There is nothing here.\n")
        else:
            self._answer_verdict(body)

    def _answer_photo(self, name: str) -> None:
        try:
            photo = self.server.reviewer.photo(name)
        except (OSError, EdgeError) as error:
            self._answer(500, f"{error}\n".encode())
            return
        if photo is None:
            self._answer(404, b"There is no such photo.\n")
        else:
            self._answer(200, *photo)

    def _answer_verdict(self, body: bytes) -> None:
        try:
            fields = json.loads(body)
            record = self.server.reviewer.judge(fields if isinstance(fields, dict) else {})
        except (ValueError, TypeError, AttributeError) as error:
            self._answer(400, f"{error}\n".encode())
        except EdgeError as error:
            self._answer(500, f"{error}\n".encode())
        else:
            self._answer(200, json.dumps(record.to_json()).encode(), "application/json")


def serve(store: Store, photos: Path, names: Sequence[str], host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C, then put the journal in order. Raises UsageError when it cannot listen."""
    try:
        server = ReviewServer(host, port, Reviewer(store, photos, names))
    except (OSError, OverflowError) as error:
        raise UsageError("--review cannot listen", given=f"{host}:{port}, {getattr(error, 'strerror', None) or error}",
                         expected="an address of this machine and a free port", remedy="Try another --port.") from error
    with server:
        say(f"review at {server.url} , Ctrl-C ends it")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    store.finish()
