"""scripts/fetch_data.py against small repositories made here, and against the real janken photos where they are."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import fetch_data  # noqa: E402

JANKEN, HANDS = fetch_data.PHOTO_SETS
SHARED = ROOT.parent / "shared"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def commit(repository: Path, files: dict[str, bytes]) -> str:
    """Write the files, commit them, return the commit's name."""

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(repository), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    if not repository.exists():
        repository.mkdir()
        git("init", "--quiet")
    for name, data in files.items():
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_bytes(data)
    git("add", "--all")
    git("commit", "--quiet", "--message", "photos")
    return git("rev-parse", "HEAD")


@pytest.fixture
def janken(tmp_path: Path) -> fetch_data.PhotoSet:
    """A repository of two commits: three photos of janken hands, one of something else."""
    photos = {"gu/a.JPG": b"rock", "choki/b.JPG": b"scissors", "pa/c.JPG": b"paper"}
    repository = tmp_path / "janken"
    first = commit(repository, {"pa/c.JPG": photos["pa/c.JPG"]})
    (repository / "pa/c.JPG").unlink()
    second = commit(repository, {**photos, "etc/d.JPG": b"no hand"} | {"pa/c.JPG": b"changed later"})
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in photos.items()}
    return dataclasses.replace(JANKEN, url=str(repository), commits=(second, first), known_sums=sums)


def annotation(hands: list[tuple[str, int, int, int, int]], size_wh: tuple[int, int] = (800, 600)) -> bytes:
    """A Pascal VOC file as labelImg writes it."""
    box = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box.format(*corners)}</object>" for name, *corners in hands)
    width, height = size_wh
    return f"<annotation><size><width>{width}</width><height>{height}</height></size>{objects}</annotation>".encode()


@pytest.fixture
def hands(tmp_path: Path) -> fetch_data.PhotoSet:
    """Each open-finger label once, and a photo of each kind that is left out."""
    cv2, np = pytest.importorskip("cv2"), pytest.importorskip("numpy")
    jpeg = cv2.imencode(".jpg", np.full((600, 800, 3), 90, np.uint8))[1].tobytes()
    annotations = {f"2_pic0000{n}": annotation([(f"{n}-hand", 101, 20, 300, 401)]) for n in range(6)}
    annotations["26_two_hands"] = annotation([("0-hand", 1, 2, 3, 4), ("0-hand", 5, 6, 7, 8)])
    annotations["Hand_large"] = annotation([("5-hand", 1, 2, 3, 4)], size_wh=(1600, 1200))
    files = {f"images/{name}.xml": data for name, data in annotations.items()}
    files |= {f"images/{name}.jpg": jpeg for name in annotations}
    repository = tmp_path / "hands"
    return dataclasses.replace(HANDS, url=str(repository), commits=(commit(repository, files),))


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_takes_the_listed_files_of_the_pinned_commits(janken, tmp_path):
    folder = fetch_data.fetch(janken, tmp_path / "data")
    assert names_below(folder) == ["SHA256SUMS", "choki/b.JPG", "gu/a.JPG", "pa/c.JPG"]
    assert (folder / "pa/c.JPG").read_bytes() == b"paper"  # of the commit laid on top, not of the newest
    assert names_below(tmp_path / "data") == [f"janken_dataset/{name}" for name in names_below(folder)]


def test_a_second_call_checks_what_is_there(janken, tmp_path, capsys):
    folder = fetch_data.fetch(janken, tmp_path / "data")
    fetch_data.fetch(janken, tmp_path / "data")
    assert "is there already" in capsys.readouterr().out
    (folder / "gu/a.JPG").write_bytes(b"rotten")
    with pytest.raises(fetch_data.FetchError, match=r"gu/a\.JPG is not the file .* Move .* away"):
        fetch_data.fetch(janken, tmp_path / "data")


def test_a_folder_of_ones_own_is_left_alone(janken, tmp_path):
    own = tmp_path / "data/janken_dataset/gu/mine.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(fetch_data.FetchError, match="not made by this script"):
        fetch_data.fetch(janken, tmp_path / "data")
    assert own.read_bytes() == b"mine"


def test_a_wrong_photo_is_named_and_nothing_stays(janken, tmp_path):
    right = janken.known_sums["gu/a.JPG"]
    wrong = dataclasses.replace(janken, known_sums={**janken.known_sums, "gu/a.JPG": "0" * 64})
    with pytest.raises(fetch_data.FetchError, match=rf"gu/a\.JPG .* Given sha256 {right}, expected {'0' * 64}"):
        fetch_data.fetch(wrong, tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []


def test_an_unreachable_repository_says_what_to_do(janken, tmp_path, capfd):
    with pytest.raises(fetch_data.FetchError, match=r"Expected commit .* --from FOLDER_OR_URL"):
        fetch_data.fetch(janken, tmp_path / "data", source=str(tmp_path / "nowhere"))
    assert "nowhere" in capfd.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_what_a_killed_run_left_is_begun_anew(janken, tmp_path):
    left = tmp_path / "data/.janken_dataset.part/finished/gu/half.JPG"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"ro")
    assert "gu/half.JPG" not in names_below(fetch_data.fetch(janken, tmp_path / "data"))
    assert not left.exists()


def test_a_full_disk_is_named(janken, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetch_data, "PHOTO_SETS", (janken,))
    monkeypatch.setattr(fetch_data.shutil, "copyfile", full)
    assert fetch_data.main(["--data", str(tmp_path / "data")]) == 1
    assert "is full" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_git_missing_names_the_install_line(janken, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(fetch_data.FetchError, match="sudo apt install git"):
        fetch_data.fetch(janken, tmp_path / "data")


def test_hands_become_class_folders_and_boxes_at_half_size(hands, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    folder = fetch_data.fetch(hands, tmp_path / "data")
    assert (folder / "boxes.tsv").read_text().splitlines() == [
        "path\tclass\tx0\ty0\tx1\ty1\twidth\theight",
        "gu/2_pic00000.jpg\tgu\t50.5\t10.0\t150.0\t200.5\t400\t300",
        "other/2_pic00001.jpg\tother\t50.5\t10.0\t150.0\t200.5\t400\t300",
        "choki/2_pic00002.jpg\tchoki\t50.5\t10.0\t150.0\t200.5\t400\t300",
        "other/2_pic00003.jpg\tother\t50.5\t10.0\t150.0\t200.5\t400\t300",
        "other/2_pic00004.jpg\tother\t50.5\t10.0\t150.0\t200.5\t400\t300",
        "pa/2_pic00005.jpg\tpa\t50.5\t10.0\t150.0\t200.5\t400\t300",
    ]
    assert len(names_below(folder)) == 6 + len(["boxes.tsv", "SHA256SUMS"])
    assert cv2.imread(str(folder / "gu/2_pic00000.jpg")).shape == (300, 400, 3)
    assert "not the one that the shipped model" in capsys.readouterr().err


def test_hands_take_only_the_first_of_the_other_shapes(hands, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_data, "OTHER_COUNT", 2)
    folder = fetch_data.fetch(hands, tmp_path / "data")
    assert names_below(folder / "other") == ["2_pic00001.jpg", "2_pic00003.jpg"]


def test_hands_need_git_to_vouch_for_them(hands, tmp_path):
    shutil.rmtree(Path(hands.url) / ".git")
    with pytest.raises(fetch_data.FetchError, match="plain folder"):
        fetch_data.fetch(hands, tmp_path / "data", source=hands.url)


def test_from_without_a_name_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as stop:
        fetch_data.main(["--from", "somewhere"])
    assert stop.value.code == 2
    assert "name it" in capsys.readouterr().err


@pytest.mark.skipif(not (SHARED / "janken_dataset").is_dir(), reason="../shared/janken_dataset is absent")
def test_the_real_janken_photos_pass_their_list(tmp_path):
    arguments = ["janken_dataset", "--from", str(SHARED / "janken_dataset"), "--data", str(tmp_path)]
    assert fetch_data.main(arguments) == 0
    assert len(names_below(tmp_path / "janken_dataset")) == 167 + len(["SHA256SUMS"])
