"""scripts/fetch_backgrounds.py against archives made here: no network, no registry client."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import fetch_backgrounds as backgrounds  # noqa: E402


def png(height: int, width: int, channels: int = 3, seed: int = 0) -> bytes:
    """Noise in blocks that an 8x8 thumbnail still shows, see-through nowhere."""
    blocks = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), np.uint8)
    picture = cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)
    if channels == 4:
        picture[..., 3] = 255
    return cv2.imencode(".png", picture)[1].tobytes()


def tar(files: dict[str, bytes], mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def deb(members: dict[str, bytes]) -> bytes:
    """An ar archive: 60 bytes of header, the data, a newline after an odd length (deb(5))."""
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def package(data: bytes, registry: str = "apt", name: str = "rugs", **others) -> backgrounds.Package:
    digest = hashlib.sha256(data).hexdigest()
    return backgrounds.Package(registry, name, "1", digest, "CC0", **{"keep": "home/", **others})


def test_a_debian_package_with_a_zip_inside_gives_its_pictures(tmp_path):
    inside = io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("home/sofa.png", png(300, 900))
    files = {
        "home/rug.png": png(240, 320, seed=1),
        "home/same rug.png": png(480, 640, seed=1),
        "home/icon.png": png(64, 64),
        "home/hand.png": png(240, 240, seed=2),
        "elsewhere/chart.png": png(240, 240, seed=3),
        "share/home.sh3f": inside.getvalue(),
    }
    data = deb({"debian-binary": b"2.0", "control.tar.xz": tar({}, "w:xz"), "data.tar.xz": tar(files, "w:xz")})
    count = backgrounds.unpack(package(data, drop="hand"), "rugs_1_all.deb", data, tmp_path)
    names = {path.name for path in tmp_path.glob("*.jpg")}
    # Of the two sizes of one rug either may be met first.
    assert count == 2 and "rugs--sofa.jpg" in names and names - {"rugs--sofa.jpg"} <= {"rugs--rug.jpg", "rugs--same-rug.jpg"}
    assert cv2.imread(str(tmp_path / "rugs--sofa.jpg")).shape == (160, 480, 3)
    assert (tmp_path / "SOURCES.txt").read_text() == "rugs\t1\tCC0\t2\n"


def test_a_debian_package_packed_with_zstd_is_refused_in_words():
    with pytest.raises(backgrounds.FetchError, match="No data.tar.xz"):
        backgrounds.open_deb(deb({"debian-binary": b"2.0", "data.tar.zst": b"()"}))


def test_no_package_dominates_and_stems_do_not_collide(tmp_path):
    data = tar({f"home/{room}/wall.png": png(240, 240, seed=room) for room in range(5)}, "w:gz")
    assert backgrounds.unpack(package(data, most=3), "rugs-1.tgz", data, tmp_path) == 3
    assert {path.name for path in tmp_path.glob("*.jpg")} == {"rugs--wall.jpg", "rugs--wall-2.jpg", "rugs--wall-3.jpg"}


def test_a_package_of_portraits_may_have_smaller_pictures(tmp_path):
    data = tar({"home/face.png": png(128, 128), "home/icon.png": png(64, 64, seed=1)}, "w:gz")
    assert backgrounds.unpack(package(data), "rugs-1.tgz", data, tmp_path) == 0
    assert backgrounds.unpack(package(data, least=120), "rugs-1.tgz", data, tmp_path) == 1


def test_a_cut_out_is_laid_on_one_colour_and_a_mere_outline_is_left_out():
    picture = np.full((200, 200, 4), 255, np.uint8)
    picture[:100, :, 3] = 0
    flat = backgrounds.flatten(picture, "cup.png")
    assert (flat[100:] == 255).all() and (flat[:100] == flat[0, 0]).all() and flat[0, 0].max() < 255
    picture[..., 3] = 0
    assert backgrounds.flatten(picture, "cup.png") is None


def test_views_into_a_panorama_look_ahead_around_and_down():
    panorama = np.full((128, 256, 3), 1.0, np.float32)
    panorama[64:] = 0.01  # the ground is dark
    panorama[32:64, :2] = np.inf  # the sun, straight ahead of the first view
    level, down = (list(backgrounds.views(panorama))[at] for at in (0, -1))
    assert level.shape == (240, 320, 3)
    assert level[40, 160].min() >= 254 and level[40, 300].min() > level[200, 300].max()
    assert down[120].max() == level[200, 300].max()  # 35 degrees below the horizon there is only ground


def test_a_panorama_in_a_javascript_module_is_found():
    exr = base64.b64encode(b"panorama")
    data = tar({"package/hdri/lobby.exr.js": b"export default 'data:application/exr;base64," + exr + b"';"}, "w:gz")
    assert list(backgrounds.files_in("assets-1.tgz", data)) == [("package/hdri/lobby.exr", b"panorama")]


@pytest.fixture
def registry(monkeypatch):
    """Stands in for the registry's client: each run leaves `archive` in the current folder. Returns the runs so far."""
    archive, runs = tar({"home/rug.png": png(240, 240)}, "w:gz"), []

    def client(command, cwd, **_):
        runs.append(list(command))
        (Path(cwd) / "rugs-1.tgz").write_bytes(archive)

    monkeypatch.setattr(backgrounds.subprocess, "run", client)
    monkeypatch.setattr(backgrounds, "PACKAGES", (package(archive, registry="npm"),))
    return runs


def test_a_second_run_fetches_nothing(registry, tmp_path, capsys):
    assert backgrounds.main([str(tmp_path)]) == 0 and backgrounds.main([str(tmp_path)]) == 0
    assert registry == [["npm", "pack", "--silent", "rugs@1"]]
    assert "there already" in capsys.readouterr().out


def test_a_wrong_checksum_is_refused_and_nothing_is_written(registry, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(backgrounds, "PACKAGES", (package(b"another archive", registry="npm"),))
    assert backgrounds.main([str(tmp_path)]) == 1
    assert "Given sha256" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_a_missing_client_is_named(monkeypatch, tmp_path, capsys):
    def client(*_, **__):
        raise FileNotFoundError(2, "No such file", "apt-get")

    monkeypatch.setattr(subprocess, "run", client)
    monkeypatch.setattr(backgrounds, "PACKAGES", (package(b""),))
    assert backgrounds.main([str(tmp_path)]) == 1
    assert "apt-get -q download rugs=1 failed" in capsys.readouterr().out
