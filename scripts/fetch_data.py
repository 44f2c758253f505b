"""Download the two public photo sets into data/: `make data`.

    python scripts/fetch_data.py                                     both sets
    python scripts/fetch_data.py janken_dataset --from COPY          one set, from another git repository (folder or
                                                                     URL) or, for janken_dataset, a plain folder

What makes a download trustworthy: git fetches a pinned commit, and a commit's name is a hash over every file in it, so
that git itself refuses other content. On top of that, every photo of janken_dataset must have the sha256 written in
`janken_dataset.sha256`. No such list of HandsDataset's originals was at hand, so there git alone vouches, and
`hands_dataset.sha256` only tells whether the same photos were chosen. Each finished folder holds its own SHA256SUMS.

A set is put together in a hidden folder, checked, and renamed to its place; one cut short is thrown away.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
SUMS_NAME = "SHA256SUMS"

# SubhiH/HandsDataset names a hand by its open fingers.
HAND_CLASSES = {
    f"{fingers}-hand": label for fingers, label in enumerate(("gu", "other", "choki", "other", "other", "pa"))
}
HAND_SIZE_WH = (800, 600)
REDUCED_SIZE_WH = (400, 300)
JPEG_QUALITY = 90
OTHER_COUNT = 200


class FetchError(Exception):
    """The set was not fetched; the words say what was given, what was expected and what to do."""


@dataclass(frozen=True)
class PhotoSet:
    """One public repository and how its files become a folder of class folders.

    Attributes:
        name: the folder under data/.
        url: where git finds the repository.
        commits: 40 hex digits each; their files are laid over one another, the last on top.
        known_sums: path relative to the finished set -> sha256 in hex.
        plain_copy_will_do: known_sums names every photo, so that a copy needs no git to vouch for it.
        assemble: called as assemble(upstream, finished, known_sums), fills the empty folder `finished`.
    """

    name: str
    url: str
    commits: tuple[str, ...]
    known_sums: dict[str, str]
    plain_copy_will_do: bool
    assemble: Callable[[Path, Path, dict[str, str]], None]


def read_sums(path: Path) -> dict[str, str]:
    """A file in the format of `sha256sum` -> relative path: sha256 in hex."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_sums(folder: Path, sums: dict[str, str]) -> None:
    """Every file named in `sums` is in `folder` with that sha256.

    Raises:
        FetchError: names the first file that is missing or different.
    """
    for name, expected in sums.items():
        path = folder / name
        if not path.is_file():
            raise FetchError(f"{path} is missing. Expected sha256 {expected}.")
        given = sha256_of(path)
        if given != expected:
            raise FetchError(f"{path} is not the file it should be. Given sha256 {given}, expected {expected}.")


def copy_known(upstream: Path, finished: Path, known_sums: dict[str, str]) -> None:
    """Copy exactly the files with a known sha256 (janken_dataset: its etc/ holds no janken hands)."""
    check_sums(upstream, known_sums)
    for name in known_sums:
        target = finished / name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(upstream / name, target)


def read_hand(annotation: Path) -> tuple[str, list[float]] | None:
    """Class and box_xyxy in reduced pixels from one Pascal VOC file; None for a photo the set leaves out.

    Left out are photos with two hands and the few of another size, each a single hand that fills the frame.
    """
    root = ElementTree.parse(annotation).getroot()
    hands = root.findall("object")
    size_wh = tuple(int(root.findtext(f"size/{side}")) for side in ("width", "height"))
    label = HAND_CLASSES.get(hands[0].findtext("name")) if len(hands) == 1 else None
    if label is None or size_wh != HAND_SIZE_WH:
        return None
    scale = REDUCED_SIZE_WH[0] / HAND_SIZE_WH[0]
    corners = ("xmin", "ymin", "xmax", "ymax")
    return label, [int(hands[0].findtext(f"bndbox/{corner}")) * scale for corner in corners]


def reduce_hands(upstream: Path, finished: Path, known_sums: dict[str, str]) -> None:
    """One-handed photos at 400x300 in gu/ choki/ pa/, the first 200 of other hand shapes in other/, and boxes.tsv.

    boxes.tsv: path, class, box_xyxy in pixels of the reduced photo, its width and height; one line a photo.
    """
    rows, others = ["path\tclass\tx0\ty0\tx1\ty1\twidth\theight"], 0
    for annotation in sorted((upstream / "images").glob("*.xml"), key=lambda path: f"{path.stem}.jpg"):
        hand = read_hand(annotation)
        if hand is None:
            continue
        label, box_xyxy = hand
        others += label == "other"
        if label == "other" and others > OTHER_COUNT:
            continue
        name = f"{label}/{annotation.stem}.jpg"
        reduce_photo(annotation.with_suffix(".jpg"), finished / name)
        rows.append("\t".join(map(str, (name, label, *box_xyxy, *REDUCED_SIZE_WH))))
    (finished / "boxes.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, expected in known_sums.items():
        if sha256_of(finished / name) != expected:
            # git has vouched for the photos; they were only not chosen as the shipped model's were.
            print(f"note: {name} is not the one that the shipped model was trained with.", file=sys.stderr)


def reduce_photo(source: Path, target: Path) -> None:
    """Write `source` at half its size as JPEG.

    Raises:
        FetchError: the photo is missing or cannot be read.
    """
    import cv2  # only this set needs more than the standard library
    import numpy as np

    data = np.frombuffer(source.read_bytes(), np.uint8) if source.is_file() else np.empty(0, np.uint8)
    photo_bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if photo_bgr is None:
        raise FetchError(f"{source.name} is missing or no photo, though its annotation {source.stem}.xml is there.")
    reduced_bgr = cv2.resize(photo_bgr, REDUCED_SIZE_WH, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(".jpg", reduced_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(jpeg.tobytes())


def run_git(*arguments: str) -> None:
    """Run git, its own words and progress going to the terminal.

    Raises:
        FetchError: git is not installed, or failed.
    """
    try:
        # A repository that is gone would make GitHub ask for a password.
        status = subprocess.run(["git", *arguments], env=os.environ | {"GIT_TERMINAL_PROMPT": "0"}).returncode
    except FileNotFoundError:
        raise FetchError("git was not found. Install it: sudo apt install git") from None
    if status:
        raise FetchError("git failed, its own words are above.")


def check_out(photo_set: PhotoSet, source: str, folder: Path) -> Path:
    """Fetch the pinned commits from `source` and lay their files into folder/tree; returns that path.

    Raises:
        FetchError: git could not fetch them.
    """
    repository, tree = folder / "repository", folder / "tree"
    tree.mkdir()
    run_git("init", "--quiet", "--bare", str(repository))
    try:
        run_git(f"--git-dir={repository}", "fetch", "--depth=1", "--no-tags", source, *photo_set.commits)
    except FetchError as error:
        free_mb = shutil.disk_usage(folder).free // 2**20
        raise FetchError(
            f"{error} Expected commit {' and '.join(photo_set.commits)} at {source}. Check the network and the disk "
            f"({free_mb} MB free), or name a copy: {photo_set.name} --from FOLDER_OR_URL"
        ) from None
    for commit in photo_set.commits:
        run_git(f"--git-dir={repository}", f"--work-tree={tree}", "checkout", "--quiet", "--force", commit, "--", ".")
    return tree


def find_upstream(photo_set: PhotoSet, source: str, folder: Path) -> Path:
    """The folder with upstream's files: `source` itself where it is a plain folder, else what git fetches from it.

    Raises:
        FetchError: a plain folder of a set whose files have no known sha256, or git failed.
    """
    path = Path(source)
    is_repository = (path / ".git").exists() or (path / "objects").is_dir()
    if not path.is_dir() or is_repository:
        return check_out(photo_set, str(path.resolve()) if is_repository else source, folder)
    if not photo_set.plain_copy_will_do:
        raise FetchError(
            f"{source} is a plain folder, and the sha256 of {photo_set.name}'s photos are not known. "
            "Expected a git repository, which vouches for its files: git clone --mirror makes a copy."
        )
    return path


def fetch(photo_set: PhotoSet, data: Path, source: str | None = None) -> Path:
    """Put the set at data/<name>, or find it there already; returns that folder.

    Raises:
        FetchError: nothing was changed at data/<name>.
    """
    final = data / photo_set.name
    if final.exists():
        check_finished(final)
        print(f"{final} is there already, and every sha256 is right.")
        return final
    part = data / f".{photo_set.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    finished = part / "finished"
    finished.mkdir(parents=True)
    try:
        print(f"fetching {photo_set.name} from {source or photo_set.url}")
        photo_set.assemble(find_upstream(photo_set, source or photo_set.url, part), finished, photo_set.known_sums)
        files = sorted(path for path in finished.rglob("*") if path.is_file())
        lines = [f"{sha256_of(path)}  {path.relative_to(finished).as_posix()}\n" for path in files]
        (finished / SUMS_NAME).write_text("".join(lines), encoding="utf-8")
        finished.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(f"{final}: {len(files)} files")
    return final


def check_finished(final: Path) -> None:
    """A set fetched before is whole.

    Raises:
        FetchError: a file is missing or changed, or the folder was not made here.
    """
    mend = f"Move {final} away to have it fetched again."
    if not (final / SUMS_NAME).is_file():
        raise FetchError(f"{final} is there, but has no {SUMS_NAME} and so was not made by this script. {mend}")
    try:
        check_sums(final, read_sums(final / SUMS_NAME))
    except FetchError as error:
        raise FetchError(f"{error} {mend}") from None


PHOTO_SETS = (
    PhotoSet(
        name="janken_dataset",
        url="https://github.com/karaage0703/janken_dataset",
        # choki/choki_01.jpg came by a commit of its own.
        commits=("0017a6838d24935e07f9ed4176997cf79ac046ec", "e1678806bc04cd858621aa9ecceacbfe09cff80f"),
        known_sums=read_sums(SCRIPTS / "janken_dataset.sha256"),
        plain_copy_will_do=True,
        assemble=copy_known,
    ),
    PhotoSet(
        name="hands_dataset",
        url="https://github.com/SubhiH/HandsDataset",
        commits=("8990d0068c8234e22101b0162a9657b0e7962202",),
        known_sums=read_sums(SCRIPTS / "hands_dataset.sha256"),
        plain_copy_will_do=False,
        assemble=reduce_hands,
    ),
)


def main(arguments: list[str] | None = None) -> int:
    """Fetch one set or both; 0 done, 1 not fetched, 2 usage, 130 stopped by Ctrl-C."""
    by_name = {photo_set.name: photo_set for photo_set in PHOTO_SETS}
    parser = argparse.ArgumentParser(description="Download the public photo sets at pinned commits, checked by hash.")
    parser.add_argument("name", nargs="?", choices=by_name, help="one set (default: both)")
    parser.add_argument("--from", dest="source", metavar="FOLDER_OR_URL", help="a copy to read instead of GitHub")
    parser.add_argument("--data", type=Path, default=SCRIPTS.parent / "data", help="where the sets go (default: data/)")
    options = parser.parse_args(arguments)
    if options.source and not options.name:
        parser.error("--from is a copy of one set: name it, for example janken_dataset --from FOLDER_OR_URL")
    try:
        for name in [options.name] if options.name else by_name:
            fetch(by_name[name], options.data, options.source)
    except FetchError as error:
        print(f"fetch_data: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        print(f"fetch_data: the disk of {options.data} is full. Make room and run it again.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("fetch_data: stopped; what was half done is removed.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
