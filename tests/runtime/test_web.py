"""The web page's server, asked by plain HTTP requests; tests/test_web_page.py looks at the page itself in a browser."""
from __future__ import annotations

import http.client
import io
import json
import re
import socket
import sys
import threading
from dataclasses import replace
from time import monotonic, perf_counter, sleep
from urllib.parse import urlsplit

import numpy as np
import pytest

from runtime.display import server, vitals
from runtime.display.feed import Feed, Pace, View, live
from runtime.display.pictures import Picture, PictureMaker, fit
from runtime.display.web import WebDisplay, page_url
from runtime.errors import UsageError

SECONDS = 10  # anything waited for comes long before
REBOUND = "names localhost and 127.0.0.1 only"


@pytest.fixture
def open_web():
    """host -> a display on a free port, closed at the end; what it said is in `display.said`."""
    opened = []

    def open_(host: str = "127.0.0.1", port: int = 0) -> WebDisplay:
        said: list[str] = []
        display = WebDisplay(host, port, said.append)
        display.said = said
        opened.append(display)
        return display

    yield open_
    for display in opened:
        display.close()


@pytest.fixture
def web(open_web) -> WebDisplay:
    return open_web()


@pytest.fixture
def seen(pipeline, draw_frame):
    """label -> (frame_rgb, result), as the loop has them."""

    def see(label: str):
        frame_rgb = draw_frame(label)
        return frame_rgb, pipeline(frame_rgb)

    return see


def ask(display: WebDisplay, path: str, method: str = "GET", body: str | None = None, **headers: str):
    """One request: (status, headers, body)."""
    address = urlsplit(display.url)
    connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=SECONDS)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def read(message: bytes) -> tuple[dict, bytes]:
    """Header and picture of a message."""
    end = 4 + int.from_bytes(message[:4], "big")
    return json.loads(message[4:end]), message[end:]


def look(display: WebDisplay, after: int = -1, viewer: str = "one", **headers: str) -> tuple[dict, bytes]:
    status, _, message = ask(display, f"/frame?after={after}&viewer={viewer}", **headers)
    assert status == 200, message
    return read(message)


class Loop:
    """A thread that presents one view again and again, as the loop does, and keeps the keys that come back."""

    def __init__(self, display: WebDisplay, frame_rgb, result, mode: str = "heatmap"):
        self.keys = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(display, frame_rgb, result, mode))

    def _run(self, display, frame_rgb, result, mode):
        while not self._over.wait(0.01):
            self.keys += display.present(frame_rgb, result, mode, 1)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._over.set()
        self._thread.join()


# --- the page and its messages --------------------------------------------------------------------------------------------


def test_the_page_and_its_parts_are_served_and_fetch_nothing_from_elsewhere(web):
    assert web.said == [f"the page is at {web.url}"] and re.fullmatch(r"http://127\.0\.0\.1:\d+/", web.url)
    for path, kind in {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript"}.items():
        status, headers, body = ask(web, path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert b"http:" not in body and b"https:" not in body and b"//cdn" not in body
    assert ask(web, "/page.py")[0] == ask(web, "/../web.py")[0] == 404


def test_a_message_holds_the_result_the_heat_and_the_picture(web, seen):
    frame_rgb, result = seen("gu")
    with Loop(web, frame_rgb, result.at(7, "gu/1.jpg", 1.5)):
        header, picture = look(web)
    assert (header["state"], header["mode"], header["label"]) == ("live", "heatmap", "gu")
    assert header["source"] == "gu/1.jpg" and header["box_xyxy"] == list(result.box_xyxy)
    assert np.abs(np.array(header["heat"]) - 255 * result.heat).max() <= 0.5
    assert np.shape(header["heat"]) == result.heat.shape
    assert header["picture_wh"] == [64, 48] and len(picture) > 100


@pytest.mark.parametrize("heat_hw", [(6, 6), (12, 12), (2, 3)])
def test_the_heat_has_any_shape_and_may_exceed_full(seen, heat_hw):
    frame_rgb, result = seen("gu")
    heat = np.linspace(0, 1.5, heat_hw[0] * heat_hw[1], dtype=np.float32).reshape(heat_hw)
    header = json.loads(json.dumps(live(frame_rgb, replace(result, heat=heat), "box", 9.96).header()))
    assert np.shape(header["heat"]) == heat_hw
    assert header["heat"][0][0] == 0 and header["heat"][-1][-1] == 382  # 1.5 * 255 to an even number
    assert header["fps"] == 10.0 and header["mode"] == "box"


def test_a_viewer_waits_for_news_and_gets_the_newest(web, seen):
    frame_rgb, result = seen("gu")
    web.present(frame_rgb, result.at(0, "old", 0.0), "heatmap", 1)
    number = look(web)[0]["number"]
    got = []
    viewer = threading.Thread(target=lambda: got.append(look(web, after=number)))
    for name in ("skipped", "skipped", "newest"):  # nobody waits yet
        web.present(frame_rgb, result.at(0, name, 0.0), "heatmap", 1)
    viewer.start()
    viewer.join(SECONDS)
    assert got[0][0]["source"] == "newest" and got[0][0]["number"] == number + 1
    viewer = threading.Thread(target=lambda: got.append(look(web, after=number + 1)))
    viewer.start()
    sleep(0.2)
    assert len(got) == 1, "nothing new yet"
    web.present(frame_rgb, result.at(0, "next", 0.0), "heatmap", 1)
    viewer.join(SECONDS)
    assert got[1][0]["source"] == "next"


def test_a_viewer_whose_number_is_of_an_earlier_run_is_served(web, seen):
    with Loop(web, *seen("gu")):
        assert look(web, after=123456)[0]["number"] < 123456


def test_nothing_new_is_told_after_a_while(web, monkeypatch):
    monkeypatch.setattr(server, "WAIT_SECONDS", 0.05)
    assert ask(web, "/frame?after=-1")[0] == 204
    assert ask(web, "/frame?after=x")[0] == 400


def test_a_lost_camera_is_told_and_then_frames_come_back(web, seen):
    web.lost(2.4)
    header, picture = look(web)
    assert (header["state"], header["seconds"], picture) == ("lost", 2, b"")
    web.present(*seen("pa"), "box", 1)
    header, picture = look(web, after=header["number"])
    assert (header["state"], header["label"]) == ("live", "pa") and picture


# --- keys -----------------------------------------------------------------------------------------------------------------


def test_keys_come_back_one_at_a_time(web, seen):
    assert [ask(web, "/key", "POST", key)[0] for key in "sq"] == [204, 204]
    assert web.present(*seen("none"), "heatmap", 1) == "s"
    assert web.lost(1) == "q"
    assert web.present(*seen("none"), "heatmap", 1) == ""


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("/key", "x", {}, 400),
        ("/", "q", {}, 400),
        ("/key", "qq", {}, 413),
        ("/key", "", {}, 413),
        ("/key", "q", {"Origin": "http://example.org"}, 403),
        ("/key", "q", {"Origin": "null"}, 403),
        ("/key", "q", {"Host": "example.org"}, 403),
    ],
)
def test_other_keys_and_other_sites_are_refused(web, seen, path, body, headers, status):
    assert ask(web, path, "POST", body, **headers)[0] == status
    assert web.present(*seen("none"), "heatmap", 1) == ""


def test_the_page_itself_may_send_keys(web):
    own = urlsplit(web.url).netloc
    assert ask(web, "/key", "POST", "s", Origin=f"http://{own}")[0] == 204


def test_more_keys_than_anyone_waits_for_are_forgotten(web):
    for _ in range(30):
        assert ask(web, "/key", "POST", "s")[0] == 204
    assert 0 < len(list(iter(lambda: web.lost(0), ""))) < 30


def test_a_photo_is_held_until_its_time_is_over_or_a_key_comes(web, seen):
    view = seen("gu")
    began = perf_counter()
    assert web.present(*view, "heatmap", 1) == "" and perf_counter() - began < 1
    assert web.present(*view, "heatmap", 200) == "" and perf_counter() - began >= 0.2
    threading.Timer(0.1, ask, (web, "/key", "POST", "q")).start()
    assert web.present(*view, "heatmap", 60_000) == "q"


# --- who may look ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/frame"])
def test_on_loopback_another_name_for_this_machine_is_refused(web, path):
    status, _, body = ask(web, path, Host="evil.example")
    assert status == 403 and REBOUND in body.decode()
    assert ask(web, "/", Host="localhost:9000")[0] == 200  # a forwarded port
    assert ask(web, "/", Host="localhost.evil.example")[0] == 403


def test_elsewhere_the_token_is_asked_for(open_web, seen):
    web = open_web("0.0.0.0")
    token = urlsplit(web.url).query.partition("token=")[2]
    assert len(token) >= 20 and web.said == [f"the page is at {web.url} (whoever has this address sees the camera)"]
    for query in ("", "?token=", "?token=wrong", f"?token={token[:-1]}", "?token=%ff%00"):
        status, headers, body = ask(web, f"/{query}")
        assert status == 403 and "Set-Cookie" not in headers
        assert b"Open that whole address" in body and token.encode() not in body
    assert ask(web, "/frame?after=-1")[0] == ask(web, "/page.js")[0] == 403
    assert ask(web, "/key", "POST", "q")[0] == 403
    assert web.present(*seen("none"), "heatmap", 1) == ""


def test_the_token_becomes_a_cookie_that_opens_everything(open_web, seen):
    web = open_web("0.0.0.0")
    status, headers, _ = ask(web, f"/?{urlsplit(web.url).query}", Host="pi.local:8080")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert status == 200 and {"HttpOnly", "SameSite=Strict"} <= set(attributes)
    assert ask(web, "/page.js", Cookie=f"other=1; {cookie}")[0] == 200
    assert ask(web, "/page.js", Cookie=f"{cookie}x")[0] == 403
    assert ask(web, "/key", "POST", "s", Cookie=cookie)[0] == 204
    assert web.present(*seen("gu"), "heatmap", 1) == "s"
    assert look(web, Cookie=cookie)[0]["label"] == "gu"


def test_every_start_has_a_new_token(open_web):
    assert urlsplit(open_web("0.0.0.0").url).query != urlsplit(open_web("0.0.0.0").url).query


def test_the_address_that_is_printed():
    assert page_url("127.0.0.1", 8080, None) == "http://127.0.0.1:8080/"
    assert page_url("pi.local", 80, "abc") == "http://pi.local:80/?token=abc"
    assert page_url("::1", 8080, None) == "http://[::1]:8080/"
    assert "0.0.0.0" not in page_url("0.0.0.0", 8080, "abc")


# --- many viewers, and none -----------------------------------------------------------------------------------------------


def test_one_viewer_too_many_is_told_so(web, seen, monkeypatch):
    with Loop(web, *seen("gu")):
        for i in range(server.MOST_VIEWERS):
            look(web, viewer=f"viewer{i}")
        status, _, body = ask(web, "/frame?after=-1&viewer=late")
        assert status == 503 and b"20 others are looking" in body
        assert look(web, viewer="viewer0")[0]["state"] == "live"
        monkeypatch.setattr(server, "SEAT_SECONDS", 0)  # now all others have left
        assert look(web, viewer="late")[0]["state"] == "live"


def test_a_view_is_encoded_once_for_all_and_not_at_all_for_none():
    encoded = []

    def make_picture(frame_rgb):
        encoded.append(frame_rgb)
        return Picture("rgb", (1, 1), b"\0\0\0")

    feed = Feed(make_picture, dict)
    view = View(lambda: {"state": "live"}, np.zeros((1, 1, 3), np.uint8))
    for _ in range(5):
        feed.put(view)
    sleep(0.1)
    assert encoded == []
    got = []
    viewers = [threading.Thread(target=lambda: got.append(feed.wait(-1, SECONDS))) for _ in range(10)]
    for viewer in viewers:
        viewer.start()
    for viewer in viewers:
        viewer.join()
    assert len(encoded) == 1 and len(got) == 10 and len(set(got)) == 1
    feed.close()


def test_a_stale_picture_is_not_given_to_who_comes_later():
    feed = Feed(lambda frame_rgb: Picture("rgb", (1, 1), b""), dict)
    feed.put(View(lambda: {"state": "first"}))
    assert read(feed.wait(-1, SECONDS))[0]["state"] == "first"
    feed.put(View(lambda: {"state": "second"}))  # nobody waits: not encoded
    sleep(0.3)
    assert read(feed.wait(-1, SECONDS))[0]["state"] == "second"
    feed.close()
    assert read(feed.wait(2, 0))[0]["state"] == "ended" and feed.ended


def test_viewers_who_do_not_read_slow_nothing(web, seen):
    frame_rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)  # noise: pictures as large as can be
    result = seen("gu")[1]
    port = urlsplit(web.url).port
    stalled = []
    for i in range(10):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET /frame?viewer=stalled{i} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 50)
        stalled.append(connection)
    longest = 0.0
    with Loop(web, frame_rgb, result) as loop:
        number = -1
        for _ in range(20):
            began = perf_counter()
            number = look(web, after=number)[0]["number"]
            web.present(frame_rgb, result, "heatmap", 1)
            longest = max(longest, perf_counter() - began)
    assert longest < 2 and loop.keys == ""
    for connection in stalled:
        connection.close()


# --- the beginning and the end --------------------------------------------------------------------------------------------


def test_a_port_in_use_is_told(web):
    port = urlsplit(web.url).port
    with pytest.raises(UsageError, match=rf"port is in use: given 127.0.0.1:{port}, expected a port .*--port {port + 1}"):
        WebDisplay("127.0.0.1", port, print)


@pytest.mark.parametrize(("host", "port"), [("203.0.113.9", 0), ("no such name", 0), ("..", 0), ("127.0.0.1", 70_000)])
def test_an_address_that_cannot_be_had_is_told(host, port):
    threads = threading.active_count()
    with pytest.raises(UsageError, match="--display web cannot listen: given .*expected an address of this machine"):
        WebDisplay(host, port, print)
    assert threading.active_count() == threads


def test_the_end_is_told_to_who_waits_and_leaves_no_thread(open_web):
    before = threading.active_count()
    web = open_web()
    port = urlsplit(web.url).port
    web.lost(1)
    number = look(web)[0]["number"]
    got = []
    viewers = [threading.Thread(target=lambda: got.append(look(web, after=number)[0]["state"])) for _ in range(5)]
    idle = socket.create_connection(("127.0.0.1", port))
    for viewer in viewers:
        viewer.start()
    deadline = monotonic() + SECONDS
    while web._feed._waiting < 5 and monotonic() < deadline:
        sleep(0.01)
    web.close()
    assert monotonic() < deadline
    for viewer in viewers:
        viewer.join(SECONDS)
    idle.close()
    assert got == ["ended"] * 5
    assert threading.active_count() == before
    WebDisplay("127.0.0.1", port, print).close()  # the port is free again


def test_the_end_is_told_to_who_asks_again_a_moment_later(open_web):
    web = open_web()
    web.lost(1)
    number = look(web)[0]["number"]
    closing = threading.Thread(target=web.close)
    closing.start()
    sleep(0.3)  # nothing is asked meanwhile
    assert look(web, after=number)[0]["state"] == "ended"
    closing.join(SECONDS)
    assert not closing.is_alive()


# --- pictures, pace and vitals --------------------------------------------------------------------------------------------


def test_frames_are_shrunk_to_fit():
    assert fit((640, 480), 640) == (640, 480)
    assert fit((1280, 720), 640) == (640, 360)
    assert fit((480, 1920), 640) == (160, 640)
    assert fit((4000, 1), 640) == (640, 1)
    assert fit((64, 48), 640) == (64, 48)


def test_without_opencv_and_pillow_pictures_are_small_plain_rgb(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    make = PictureMaker()
    frame_rgb = np.full((480, 640, 3), (1, 2, 3), np.uint8)
    assert make(frame_rgb) == Picture("rgb", (320, 240), bytes((1, 2, 3)) * 320 * 240)
    assert make(frame_rgb[:2, :3]) == Picture("rgb", (3, 2), bytes((1, 2, 3)) * 6)


@pytest.mark.parametrize("module", ["cv2", "PIL.Image"])
def test_with_one_of_them_pictures_are_jpeg(monkeypatch, module):
    pytest.importorskip(module, reason=f"{module} is not installed")
    image = pytest.importorskip("PIL.Image", reason="Pillow reads the JPEG back")
    if module != "cv2":
        monkeypatch.setitem(sys.modules, "cv2", None)
    frame_rgb = np.full((720, 1280, 3), (200, 40, 90), np.uint8)
    picture = PictureMaker()(frame_rgb)
    assert (picture.format, picture.size_wh) == ("jpeg", (640, 360))
    pixels = np.asarray(image.open(io.BytesIO(picture.data)))
    assert pixels.shape == (360, 640, 3) and np.abs(pixels.astype(int) - (200, 40, 90)).max() < 6


def test_the_pace_is_that_of_the_last_seconds():
    pace = Pace()
    assert pace.tick(0.0) == 0
    assert [round(pace.tick(t), 6) for t in (0.5, 1.0)] == [2, 2]
    for i in range(1, 41):
        last = pace.tick(1 + i / 10)
    assert last == pytest.approx(10)
    assert pace.tick(105.0) == pytest.approx(0.01), "a pause"


def test_vitals_of_a_pi(monkeypatch, tmp_path):
    zone, tool = tmp_path / "temp", tmp_path / "vcgencmd"
    zone.write_text("48312\n")
    tool.write_text("#!/bin/sh\n[ $1 = get_throttled ] && echo throttled=0x50001\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = vitals.read_vitals(zone)
    assert found == {"celsius": 48.312, "power": "now: under-voltage; since boot: under-voltage, throttled", "power_bad": True}
    tool.write_text("#!/bin/sh\necho throttled=0x0\n")
    assert vitals.read_vitals(zone) == {"celsius": 48.312, "power": "never throttled since boot", "power_bad": False}


def test_vitals_elsewhere(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert vitals.read_vitals(tmp_path / "temp") == {"celsius": None, "power": None, "power_bad": False}


def test_vitals_are_in_every_message(web):
    web._vitals.close()  # else its thread may read this machine's own in between
    web._vitals.latest = {"celsius": 51.0, "power": None, "power_bad": False}
    web.lost(0)
    assert look(web)[0]["celsius"] == 51.0
