"""export/augment.py: what a training sample is made of."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from calibration import photos
from calibration.photos import DataError, Photo
from export import augment
from export.augment import FILL, FIST_FILL, Augmenter, Cutout, ends_in_arm
from export.rendering.person import RenderedPerson

LABELS = ["gu", "pa", "none"]
SIZE = (96, 96)


def augmenter(box=(20.0, 10.0, 60.0, 50.0), **material) -> Augmenter:
    photo = Photo("a.png", "set/gu/a.png", "gu", "set/a", box)
    frame = np.full((64, 80, 3), 90, np.uint8)
    return Augmenter([photo], [frame], [], LABELS, SIZE, (12, 12), seed=0, **material)


def test_sample_has_frame_label_and_heat_of_the_hand():
    made = augmenter(mix={"scene": 1.0})
    for frame, label, heat, has_heat in (made.sample() for _ in range(20)):
        assert frame.shape == (96, 96, 3) and frame.dtype == np.uint8
        assert LABELS[label] == "gu" and has_heat == 1
        assert heat.shape == (12, 12) and 0 < heat.max() <= 1


def test_nothing_is_cold():
    made = augmenter(mix={"nothing": 1.0})
    for _, label, heat, has_heat in (made.sample() for _ in range(10)):
        assert LABELS[label] == "none" and not heat.any() and has_heat == 1


def test_a_photo_without_a_box_does_not_say_where_its_hand_is():
    _, label, heat, has_heat = augmenter(box=None, mix={"scene": 1.0}).sample()
    assert LABELS[label] == "gu" and not heat.any() and has_heat == 0


def raised(label: str = "pa", arm: slice = slice(26, 38)) -> Cutout:
    """A white square hand on the stump of an arm that leaves its picture of 64x64 below."""
    hand, alpha = np.zeros((2, 64, 64), np.uint8)
    hand[36:60, 20:44] = 255
    alpha[hand > 0] = alpha[60:, arm] = 255
    return Cutout(np.full((64, 64, 3), 255, np.uint8), alpha, hand, label, (20.0, 36.0, 44.0, 60.0))


def test_an_arm_goes_on_to_the_edge_of_the_frame(monkeypatch):
    made = augmenter()
    made.background = lambda hand: np.zeros((96, 96, 3), np.uint8)

    def touches(picture) -> bool:
        return bool((picture[[0, -1]] > 60).any() or (picture[:, [0, -1]] > 60).any())

    def arms_that_touch() -> float:
        samples = [made._over_background(raised()) for _ in range(200)]
        return np.mean([touches(frame.max(axis=2)) for frame, hand in samples if not touches(hand)])

    assert ends_in_arm(raised()) and not ends_in_arm(raised(arm=slice(40, 64))), "a corner would go on as a wedge"
    monkeypatch.setattr(augment, "ARM_GOES_ON", 1.0)
    assert arms_that_touch() > 0.9
    monkeypatch.setattr(augment, "ARM_GOES_ON", 0.0)
    assert arms_that_touch() < 0.5


def test_a_fist_is_smaller_than_an_open_hand_across_the_same_room():
    made = augmenter()
    sides = {label: [np.sqrt((made._over_background(raised(label))[1] > 127).sum()) for _ in range(300)]
             for label in ("gu", "pa")}
    small = {label: np.percentile(of, 10) for label, of in sides.items()}
    assert small["gu"] / small["pa"] == pytest.approx(FIST_FILL[0] / FILL[0], abs=0.12)


def test_given_pictures_become_places():
    green = np.zeros((50, 50, 3), np.uint8)
    green[..., 1] = 255
    made = augmenter(places=[green])
    seen = sum((made.background() == [0, 255, 0]).all() for _ in range(60))
    assert 10 < seen < 50, "neither never nor always"


def test_a_woven_place_repeats_itself():
    """Noise is like itself nowhere else; woven noise is, a whole pattern further on."""
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)

    def likeness(frame):
        grey = frame.mean(axis=2) - frame.mean()
        lags = np.fft.fftshift(np.fft.ifft2(np.abs(np.fft.fft2(grey)) ** 2).real) / (grey ** 2).sum()
        lags[48 - 6:48 + 7, 48 - 6:48 + 7] = 0
        return lags.max()

    made = augmenter()
    woven = [likeness(made._woven(noise)) for _ in range(40)]
    assert likeness(noise) < 0.1 and np.median(woven) > 0.2, "a pattern larger than the frame cannot be told from noise"


def test_a_place_like_the_hand_has_its_colour_and_keeps_its_own_shapes():
    hand = replace(raised(), frame_rgb=np.full((64, 64, 3), (200, 120, 80), np.uint8))
    blue = np.kron(np.indices((12, 12)).sum(axis=0) % 2, np.ones((8, 8)))[..., None] * (60, 90, 200)
    made = augmenter()
    places = [made._alike(blue.astype(np.uint8), hand) for _ in range(30)]
    means = np.float32([place.mean(axis=(0, 1)) for place in places])
    assert (means[:, 0] > means[:, 2]).mean() > 0.6, "blue has become skin, but for what of its own is left"
    assert 0.5 < np.median(means.mean(axis=1)) / 133 < 1.6, "about as bright as the hand"
    for place in places:
        assert abs(np.corrcoef(place.sum(axis=2).ravel(), blue.sum(axis=2).ravel())[0, 1]) > 0.9


def test_a_place_like_the_hand_is_one_like_some_hand_where_none_will_be_seen(monkeypatch):
    grey = np.full((50, 50, 3), 90, np.uint8)
    monkeypatch.setattr(augment, "PLACES", {"empty": 0, "places": 1, "drawn": 0})
    made = augmenter(places=[grey])
    made.alike = 1.0
    assert all(np.ptp(made.background().reshape(-1, 3).mean(axis=0)) < 2 for _ in range(5)), "nobody to be like"
    made.rendered["gu"] = [replace(raised("gu"), frame_rgb=np.full((64, 64, 3), (200, 120, 80), np.uint8))]
    assert all(np.ptp(made.background().reshape(-1, 3).mean(axis=0)) > 30 for _ in range(5))


def test_places_are_like_hands_in_training_alone(monkeypatch):
    made = augmenter(mix={"nothing": 1.0})
    asked = []
    monkeypatch.setattr(made, "_any_cutout", lambda: asked.append(1))
    made.batch(30)
    assert not asked
    assert len(list(made.batches(30, 1))) == 1 and asked
    asked.clear()
    made.batch(30)
    assert not asked


def test_someone_stands_in_some_of_the_places():
    blue = RenderedPerson(np.full((160, 192, 3), (0, 0, 255), np.uint8), np.full((160, 192), 255, np.uint8))
    places = [np.zeros((50, 50, 3), np.uint8)]
    made = Augmenter([], [], [], LABELS, SIZE, (12, 12), seed=0, places=places, people=[blue])
    seen = sum((made.background() == [0, 0, 255]).all(axis=-1).mean() > 0.2 for _ in range(60))
    assert 10 < seen < 50, "neither never nor always"


def test_a_person_goes_on_where_its_picture_ends():
    alpha = np.zeros((160, 192), np.uint8)
    alpha[40:, 60:130] = 255
    made = augmenter(people=[RenderedPerson(np.full((160, 192, 3), 255, np.uint8), alpha)])
    for _ in range(100):
        seen = made._with_person(np.zeros((96, 96, 3), np.uint8), made.people[0]).max(axis=2) > 127
        assert seen[[0, -1]].any() or seen[:, [0, -1]].any() or not seen.any(), "no body ends in the air"


def test_pictures_of_a_folder_and_of_an_empty_one(tmp_path):
    with pytest.raises(DataError, match="no pictures under"):
        photos.pictures(tmp_path)
    (tmp_path / "deep").mkdir()
    cv2.imwrite(str(tmp_path / "deep" / "a.png"), np.zeros((40, 600, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    assert [picture.shape for picture in photos.pictures(tmp_path)] == [(32, 480, 3)]


@pytest.mark.parametrize("scale", [0.1, 0.3, 0.8, 1.5])
def test_what_is_laid_over_a_place_brings_no_outline_along(scale):
    """A disc of the place's own colour, with black around it as drawn hands have: nobody can tell that it is there."""
    alpha = np.zeros((128, 128), np.uint8)
    cv2.circle(alpha, (64, 64), 40, 255, -1, cv2.LINE_AA)
    disc = np.where(alpha[..., None] > 0, 200, 0).astype(np.uint8).repeat(3, axis=2)
    matrix = np.column_stack([cv2.getRotationMatrix2D((64, 64), 30, scale)[:, :2] * (1, 0.9), [20.0, 60.0]])
    laid = augment.lay_over(np.full((80, 96, 3), 200, np.uint8), disc, alpha, matrix)
    assert np.abs(laid.astype(int) - 200).max() <= 4


def test_what_is_laid_over_lies_where_its_mask_does():
    alpha = np.zeros((120, 160), np.uint8)
    alpha[30:80, 50:120] = 255
    white = np.full((120, 160, 3), 255, np.uint8)
    for scale in (0.2, 0.45, 1.0):
        matrix = cv2.getRotationMatrix2D((80, 60), 20, scale)
        mask = cv2.warpAffine(alpha, matrix, (160, 120)) / 255.0
        laid = augment.lay_over(np.zeros((120, 160, 3), np.uint8), white, alpha, matrix)[..., 0] / 255.0
        assert np.abs(laid - mask).sum() / mask.sum() < 0.08
        ys, xs = np.indices(mask.shape)
        for axis in (ys, xs):
            assert (laid * axis).sum() / laid.sum() == pytest.approx((mask * axis).sum() / mask.sum(), abs=0.15)
