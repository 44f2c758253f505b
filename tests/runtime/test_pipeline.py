from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from runtime.heatmap import ALONE
from runtime.pipeline import Pipeline, closer_window, has_room
from runtime.quantize import Quantization
from runtime.results import Box


class FakeNetworks:
    """Hands out one feature map and one embedding, and keeps the image it was given."""

    image_quantization = Quantization(1 / 128, 0)
    feature_quantization = Quantization(1 / 128, -128)
    embedding_quantization = Quantization(0.5, 0)

    def __init__(self, feature_map: np.ndarray, embedding: list[int]):
        self.feature_map = feature_map
        self.embedding = np.array(embedding, np.int8)

    def __call__(self, image):
        self.image = image
        return self.feature_map, self.embedding


@pytest.fixture
def by_hand(tiny):
    """A bundle of two axes: gu lies on the first, none on the second; cluster 1 looks at channel 0."""
    return dataclasses.replace(
        tiny,
        labels=("gu", "none"),
        size_wh=(2, 1),
        feature_shape_hwc=(2, 2, 2),
        embedding_dim=2,
        prototypes=np.eye(2, dtype=np.float32),
        cluster_centers=np.array([[0, 1], [1, 0]], np.float32),
        cluster_weights=np.array([[0, 1], [1, 0]], np.float32),
        box_threshold=0.5,
    )


@pytest.fixture
def warm_corner() -> np.ndarray:
    feature_map = np.full((2, 2, 2), -128, np.int8)
    feature_map[0, 0, 0] = -64  # half of full heat in channel 0
    return feature_map


def test_the_whole_method_by_hand(by_hand, warm_corner):
    networks = FakeNetworks(warm_corner, [4, 3])
    frame_rgb = np.array([[[0, 1, 2], [253, 254, 255]]], np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    result = Pipeline(by_hand, networks)(frame_rgb)
    assert networks.image.tolist() == [[[-128, -127, -126], [125, 126, 127]]]
    np.testing.assert_allclose(result.embedding, [0.8, 0.6], rtol=1e-6)
    assert result.label == "gu"
    assert result.scores == {"gu": pytest.approx(1 / (1 + np.exp(16 * (0.6 - 0.8))), rel=1e-4)}
    assert result.score == result.scores["gu"]
    assert result.cluster == 1
    assert result.heat.tolist() == [[0.5, 0], [0, 0]]
    assert result.size_wh == (32, 16)
    assert (result.box_xyxy, result.peak_xy) == (Box(0, 0, 16, 8), (8, 4))
    assert set(result.ms) == {"preprocess", "infer", "heatmap"} and min(result.ms.values()) >= 0


def test_of_thousands_of_clusters_the_nearest_is_found_as_of_two(by_hand, warm_corner):
    """Past ALONE the products are formed otherwise."""
    many = dataclasses.replace(by_hand, cluster_centers=np.array([[0, 1]] * ALONE + [[1, 0]], np.float32),
                               cluster_weights=np.array([[0, 1]] * ALONE + [[1, 0]], np.float32))
    frame_rgb = np.zeros((16, 32, 3), np.uint8)
    few, found = (Pipeline(bundle, FakeNetworks(warm_corner, [4, 3]))(frame_rgb) for bundle in (by_hand, many))
    assert (few.cluster, found.cluster) == (1, ALONE) and found.scores == pytest.approx(few.scores)
    assert found.heat.tolist() == few.heat.tolist()


class TwoLooks(FakeNetworks):
    """Says one thing of the whole frame and another of its part; both write into the same map, as the interpreter does."""

    def __init__(self, *looks: tuple[np.ndarray, list[int]]):
        super().__init__(looks[0][0].copy(), looks[0][1])
        self.looks = list(looks)

    def __call__(self, image):
        feature_map, embedding = self.looks.pop(0)
        self.feature_map[...] = feature_map
        return self.feature_map, np.array(embedding, np.int8)


@pytest.fixture
def far_corner() -> np.ndarray:
    """Heat in the other corner of what is looked at."""
    feature_map = np.full((2, 2, 2), -128, np.int8)
    feature_map[1, 1, 0] = -64
    return feature_map


def test_an_unsure_frame_is_looked_at_closer_where_it_is_warm(by_hand, warm_corner, far_corner):
    networks = TwoLooks((warm_corner, [4, 3]), (far_corner, [4, 0]))  # gu by a little, then for certain
    result = Pipeline(dataclasses.replace(by_hand, closer=0.25), networks)(np.zeros((80, 160, 3), np.uint8))
    assert networks.looks == []
    assert (result.looks, result.label) == (2, "gu")
    assert result.scores["gu"] == pytest.approx(1 / (1 + np.exp(16 * (0.3 - 0.9))))
    np.testing.assert_allclose(result.embedding, [0.8, 0.6], rtol=1e-6)  # of the whole frame
    # the first look's box is the corner's quarter, so the window is in that corner; in it the hand is lower right
    assert closer_window(Box(0, 0, 80, 40), (160, 80)) == Box(0, 0, 100, 50)
    assert (result.box_xyxy, result.peak_xy) == (Box(50, 25, 100, 50), (75, 37))


@pytest.mark.parametrize("embedding", [[4, 0], [0, 4]], ids=["gu", "none"])
def test_a_sure_frame_is_looked_at_once(by_hand, warm_corner, embedding):
    networks = TwoLooks((warm_corner, embedding))
    assert Pipeline(dataclasses.replace(by_hand, closer=0.25), networks)(np.zeros((80, 160, 3), np.uint8)).looks == 1


@pytest.fixture
def small_hand() -> tuple[np.ndarray, list[int]]:
    """The warm corner's cell of a map of 4x4, surely gu: a box of a quarter of the frame's sides."""
    feature_map = np.full((4, 4, 2), -128, np.int8)
    feature_map[0, 0, 0] = -64
    return feature_map, [4, 0]


@pytest.mark.parametrize("closer, looks", [(0.25, 2), (0.0, 1)], ids=["", "where the bundle never looks closer"])
def test_a_small_hand_is_looked_at_closer_though_it_is_known(by_hand, small_hand, closer, looks):
    bundle = dataclasses.replace(by_hand, closer=closer, feature_shape_hwc=(4, 4, 2))
    networks = TwoLooks(small_hand, small_hand)
    result = Pipeline(bundle, networks)(np.zeros((80, 160, 3), np.uint8))
    assert (result.looks, result.label) == (looks, "gu")
    assert result.box_xyxy == (Box(0, 0, 18, 9) if looks == 2 else Box(0, 0, 40, 20))


@pytest.mark.parametrize("box, room", [(None, False), (Box(10, 10, 81, 45), True), (Box(10, 10, 83, 45), False),
                                       (Box(10, 10, 81, 46), False)])
def test_a_small_hand_is_one_with_room_around_it_in_a_closer_look(box, room):
    assert has_room(10, box, (160, 80)) is room  # 0.72 of 10 sixteenths: 72 x 36 pixels


def test_the_closer_look_may_find_the_hand_that_the_first_missed(by_hand, warm_corner):
    networks = TwoLooks((warm_corner, [3, 4]), (warm_corner, [4, 0]))  # the first is none by a little, and so cold
    result = Pipeline(dataclasses.replace(by_hand, closer=0.25), networks)(np.zeros((80, 160, 3), np.uint8))
    assert (result.label, result.box_xyxy) == ("gu", Box(30, 15, 80, 40))  # in the middle


def test_two_looks_may_agree_on_none(by_hand, warm_corner):
    networks = TwoLooks((warm_corner, [4, 3]), (warm_corner, [0, 4]))
    result = Pipeline(dataclasses.replace(by_hand, closer=0.25), networks)(np.zeros((80, 160, 3), np.uint8))
    assert (result.looks, result.label, result.box_xyxy, result.peak_xy) == (2, "none", None, None)
    assert not result.heat.any()


def test_a_closer_look_that_finds_no_heat_leaves_the_box_where_it_was(by_hand, warm_corner):
    networks = TwoLooks((warm_corner, [4, 3]), (np.full((2, 2, 2), -128, np.int8), [4, 0]))
    result = Pipeline(dataclasses.replace(by_hand, closer=0.25), networks)(np.zeros((80, 160, 3), np.uint8))
    assert (result.label, result.box_xyxy) == ("gu", Box(0, 0, 80, 40))


@pytest.mark.parametrize(
    "box, expected",
    [
        (None, Box(30, 15, 130, 65)),  # nothing was warm: the middle
        (Box(0, 0, 160, 80), Box(30, 15, 130, 65)),
        (Box(50, 22, 110, 57), Box(30, 15, 130, 65)),
        (Box(56, 22, 116, 57), Box(40, 15, 140, 65)),  # a sixteenth farther
        (Box(100, 0, 160, 35), Box(60, 0, 160, 50)),  # to lie inside
        (Box(0, 0, 51, 1), Box(0, 0, 100, 50)),
        (Box(0, 0, 50, 25), Box(0, 0, 70, 35)),  # a smaller part has room for it
        (Box(82, 40, 84, 42), Box(50, 25, 120, 60)),
    ],
)
def test_the_closer_look_goes_around_the_box(box, expected):
    assert closer_window(box, (160, 80)) == expected


def test_a_closer_look_sees_as_much_of_any_frame_and_lies_inside():
    rng = np.random.default_rng(0)
    for width, height in [(1, 1), (3, 2), (641, 479), (1920, 1080)]:
        for x, y in rng.random((50, 2)):
            x0, y0 = int(x * width), int(y * height)
            window = closer_window(Box(x0, y0, x0 + 1, y0 + 1), (width, height))
            assert 0 <= window.x0 < window.x1 <= width and 0 <= window.y0 < window.y1 <= height
            sixteenths = 7 if width > 3 else 10  # a pixel is small in a large frame
            expected = tuple(max(1, sixteenths * side // 16) for side in (width, height))
            assert (window.x1 - window.x0, window.y1 - window.y0) == expected


@pytest.mark.parametrize("embedding", [[3, 4], [0, 0], [-4, 0]], ids=["near none", "zero", "near nothing"])
def test_none_has_no_box_no_peak_and_no_heat(by_hand, warm_corner, embedding):
    result = Pipeline(by_hand, FakeNetworks(warm_corner, embedding))(np.zeros((16, 32, 3), np.uint8))
    assert (result.label, result.box_xyxy, result.peak_xy) == ("none", None, None)
    assert not result.heat.any()
    assert result.score == pytest.approx(1 - result.scores["gu"])


def test_a_hand_without_heat_has_a_label_but_no_box(by_hand):
    cold = np.full((2, 2, 2), -128, np.int8)
    result = Pipeline(by_hand, FakeNetworks(cold, [1, 0]))(np.zeros((16, 32, 3), np.uint8))
    assert (result.label, result.box_xyxy, result.peak_xy) == ("gu", None, None)


def test_a_coloured_patch_is_named_and_found_by_the_tiny_bundle(pipeline, draw_frame):
    for label in ("gu", "choki", "pa"):
        result = pipeline(draw_frame(label))
        (x, y), (x0, y0, x1, y1) = result.peak_xy, result.box_xyxy
        assert result.label == label
        assert 16 <= x < 32 and 12 <= y < 24
        assert x0 < 16 < 31 < x1 and y0 < 12 < 23 < y1  # the patch is one cell; its heat fades over half the next
    assert pipeline(draw_frame("none")).label == "none"


def test_frames_of_other_sizes_may_follow_one_another(pipeline, draw_frame):
    frame_rgb = draw_frame("pa")
    large = pipeline(frame_rgb.repeat(3, axis=0).repeat(3, axis=1))
    small = pipeline(frame_rgb)
    assert large.size_wh == (192, 144) and small.size_wh == (64, 48)
    assert large.label == small.label == "pa"
    # A box covers the pixels it touches, so it may be a pixel of the small frame, 3 of the large one, wider.
    np.testing.assert_allclose(large.box_xyxy, [3 * value for value in small.box_xyxy], atol=3)


def test_the_same_frame_gives_the_same_result(pipeline, draw_frame):
    first = pipeline(draw_frame("gu"))
    pipeline(draw_frame("pa"))
    assert pipeline(draw_frame("gu")) == first


def test_a_single_pixel_is_a_frame(pipeline):
    result = pipeline(np.array([[[255, 0, 0]]], np.uint8))
    assert (result.label, result.box_xyxy, result.peak_xy) == ("gu", Box(0, 0, 1, 1), (0, 0))
