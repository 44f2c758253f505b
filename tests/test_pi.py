"""The emulated Pi: how answers are compared, how its root is kept, and a small real run where this machine can do one."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import pi_root  # noqa: E402
import pi_test  # noqa: E402

ARM64 = pi_root.PIS["arm64"]


def answers(*labels_and_boxes, embeddings=None) -> pi_test.Answers:
    lines = [{"label": label, "box_xyxy": box} for label, box in labels_and_boxes]
    return pi_test.Answers("a machine", lines, np.float32(embeddings or [[1, 0]] * len(lines)))


@pytest.mark.parametrize(
    ("given", "same_label", "same_box", "box_px", "good"),
    [
        ([("gu", [1, 2, 30, 40]), ("none", None)], 2, 2, 0, True),
        ([("gu", [1, 2, 31, 39]), ("none", None)], 2, 1, 1, True),
        ([("gu", [1, 2, 30, 42]), ("none", None)], 2, 1, 2, False),
        ([("pa", [1, 2, 30, 40]), ("none", None)], 1, 2, 0, False),
        ([("gu", None), ("none", None)], 2, 1, math.inf, False),
    ],
)
def test_labels_must_be_equal_and_boxes_within_a_pixel(given, same_label, same_box, box_px, good):
    found = pi_test.compare(answers(*given), answers(("gu", [1, 2, 30, 40]), ("none", None)))
    assert (found.frames, found.same_label, found.same_box, found.box_px, found.good) == (2, same_label, same_box, box_px, good)


def test_cosine_is_of_each_pair_of_embeddings():
    two = [("gu", None)] * 2
    found = pi_test.compare(answers(*two, embeddings=[[1, 0], [0, 1]]), answers(*two, embeddings=[[1, 0], [0.8, 0.6]]))
    assert (found.cosine_mean, found.cosine_worst) == pytest.approx((0.8, 0.6))


def test_a_lost_line_is_no_equality():
    with pytest.raises(ValueError):
        pi_test.compare(answers(("gu", None)), answers(("gu", None), ("gu", None)))


def test_the_exit_code_tells_other_answers_from_no_answers(monkeypatch, capsys):
    def refuse(options):
        raise pi_root.RootError("no emulator")

    monkeypatch.setattr(pi_test, "run", lambda options: False)
    assert pi_test.main(["--data", "photos"]) == 1
    monkeypatch.setattr(pi_test, "run", refuse)
    assert pi_test.main(["--data", "photos"]) == 2
    assert "pi_test: no emulator" in capsys.readouterr().err


def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch, capsys):
    monkeypatch.setattr(pi_root.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(pi_root.shutil, "which", lambda name: None if name.startswith("qemu") else f"/usr/bin/{name}")
    assert pi_root.main(["check"]) == 1
    words = capsys.readouterr().err
    assert "qemu-aarch64, qemu-arm" in words and "sudo apt install qemu-user" in words


@pytest.fixture
def made(tmp_path, monkeypatch) -> list[str]:
    """Stand-ins for apt and dpkg, with a cache of their own; the list says what was unpacked."""
    done: list[str] = []
    monkeypatch.setattr(pi_root, "CACHE", tmp_path)
    monkeypatch.setattr(pi_root, "obstacle", lambda: None)
    monkeypatch.setattr(pi_root, "download", lambda pi, folder: [])

    def unpack(packages: list[Path], root: Path) -> None:
        (root / "etc").mkdir(parents=True)
        done.append(root.parent.name)

    monkeypatch.setattr(pi_root, "unpack", unpack)
    return done


def test_a_root_is_made_once_and_anew_for_another_recipe(made):
    for _ in range(2):
        pi_root.build(ARM64)
        assert made == [".arm64.part"]
    (ARM64.root / pi_root.RECIPE).write_text("of yesterday")
    (ARM64.root / "stale").touch()
    pi_root.build(ARM64)
    assert len(made) == 2 and not (ARM64.root / "stale").exists()


def test_a_root_cut_short_is_not_taken_for_a_good_one(made, monkeypatch, tmp_path):
    def break_off(root: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pi_root, "settle", break_off)
        pi_root.build(ARM64)
    assert list(tmp_path.iterdir()) == []
    pi_root.build(ARM64)
    assert len(made) == 2 and ARM64.home.is_dir()


@pytest.fixture(scope="module")
def arm64() -> pi_root.Pi:
    """The real root; about 50 MB are downloaded for it, once."""
    reason = pi_root.obstacle()
    if reason:
        pytest.skip(f"no emulated Pi: {reason}")
    try:
        pi_root.build(ARM64)
    except pi_root.DownloadError as error:
        pytest.skip(f"no emulated Pi: {error}")
    return ARM64


def test_the_root_is_a_pi_s_debian(arm64):
    said = arm64.run("sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; uname -m; dpkg --print-architecture; pwd")
    assert said.stdout.split() == ["bookworm", "aarch64", "arm64", "/home/pi"]


def test_a_command_that_fails_there_says_why(arm64):
    with pytest.raises(pi_root.RootError, match=r"(?s)ls nowhere\nfailed with exit code 2:.*No such file"):
        arm64.run("ls", "nowhere")


def test_the_bundle_file_gives_the_same_answers_there(arm64, tmp_path, capsys):
    """Installed by its own script, with the real wheels; the cold start is counted on the way."""
    from export.build import write_rendered_heldout

    frames = write_rendered_heldout(tmp_path / "frames.npz", 4)
    status = pi_test.main(["--data", str(frames), "--arch", "arm64"])
    said = capsys.readouterr()
    assert status == 0, said.out + said.err
    label = json.loads(re.search(r"first result .*?(\{.*\})", said.out)[1])["label"]
    count = float(re.search(r"^\| aarch64, .* \| 0 px \| 1\.000000 \| 1\.000000 \| (0\.\d+) G \|$", said.out, re.MULTILINE)[1])
    assert label == "none"  # the installation's grey frame
    assert 0.2 < count <= 0.6
