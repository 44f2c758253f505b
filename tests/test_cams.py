"""Ways to make heat: the per-image methods against maps worked out by hand, then all of them on a network of a few weights."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from calibration import report
from calibration.heldout import HeldOut
from calibration.photos import DataError
from export import gradcam
from export.studies import cams
from runtime.bundle import load_bundle
from runtime.results import Box, Result

TINY = Path(__file__).parent.parent / "models" / "tiny"

# two channels over two cells: channel 0 sits left, channel 1 right
MAPS = np.array([[[2.0, 0.0], [0.0, 1.0]]])


def test_nothing_gives_nothing():
    nothing = np.zeros((2, 2, 3))
    for method in cams.PER_IMAGE.values():
        np.testing.assert_array_equal(method(nothing, nothing), np.zeros((2, 2)))


def test_grad_cam_weighs_channels_by_their_mean_gradient():
    gradient = np.array([[[1.0, -4.0], [0.0, 2.0]]])  # means: 0.5 and -1
    np.testing.assert_allclose(cams.grad_cam(MAPS, gradient), [[1.0, 0.0]])


def test_grad_cam_pp_by_hand():
    gradient = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    # alpha: 1 / (2 + 2 * 1) = 1/4 left of channel 0; 4 / (8 + 1 * 8) = 1/4 right of channel 1; weights 1/4 and 1/2
    np.testing.assert_allclose(cams.grad_cam_pp(MAPS, gradient), [[0.5, 0.5]])


def test_the_weights_that_are_stored_are_those_of_grad_cam_pp():
    rng = np.random.default_rng(0)
    maps, gradient = rng.uniform(0, 6, (3, 4, 5)).astype(np.float32), rng.normal(size=(3, 4, 5)).astype(np.float32)
    stored = gradcam.plus_plus(maps[None], gradient[None]).numpy()
    np.testing.assert_allclose(gradcam.cam(maps[None], stored)[0], cams.grad_cam_pp(maps, gradient), rtol=1e-5)


def test_layer_cam_weighs_every_cell_by_its_own_gradient():
    gradient = np.array([[[3.0, 5.0], [-1.0, -2.0]]])
    np.testing.assert_allclose(cams.layer_cam(MAPS, gradient), [[6.0, 0.0]])


@pytest.mark.parametrize("sign", [1, -1])
def test_eigen_cam_follows_the_strongest_direction_whatever_its_sign(sign):
    maps = np.array([[[3.0, 4.0], [0.0, 0.0]]])
    np.testing.assert_allclose(cams.eigen_cam(sign * maps, maps)[0, 0], 5.0)
    assert cams.eigen_cam(maps, maps)[0, 1] == 0


# --- the layer ------------------------------------------------------------------------------------------------------------


def skipping_network(channels: int = 5, reference: bool = True) -> keras.Model:
    """8x12 px -> 4x6 cells; the deeper layer is enlarged and added back, so neither layer is the only path."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 12, 3))
    fine = keras.layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu", name="fine")(image)
    deep = keras.layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu",
                               name=cams.REFERENCE_LAYER if reference else "deep")(fine)
    joined = keras.layers.ReLU(6.0, name="joined")(keras.layers.Add()([fine, keras.layers.UpSampling2D(2)(deep)]))
    return keras.Model(image, [joined, keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(joined))])


def test_gradient_of_a_network_that_can_be_differentiated_by_hand():
    """embedding = mean over four cells of the image = (1, 0); towards (0, 1) the cosine grows with channel 1 alone."""
    image = keras.Input((2, 2, 2))
    maps = keras.layers.ReLU()(image)
    network = keras.Model(image, [maps, keras.layers.GlobalAveragePooling2D()(maps)])
    seen = cams.Probe(network)(np.float32([[[[1, 0]] * 2] * 2]), np.float32([[0, 1]]))
    np.testing.assert_allclose(seen.gradients, np.float32([[[[0, 0.25]] * 2] * 2]), atol=1e-6)
    np.testing.assert_allclose(seen.embeddings, [[1, 0]], atol=1e-6)


def test_gradient_takes_the_way_past_a_skip_connection():
    """Against a small change of the deep layer's bias, which moves all of its cells."""
    network = skipping_network()
    layer, open_bias, step = network.get_layer(cams.REFERENCE_LAYER), np.ones(5, np.float32), 1e-2
    layer.bias.assign(open_bias)
    images = np.random.default_rng(1).random((1, 8, 12, 3), np.float32)
    towards = np.float32([[0.5, 0.5, -0.5, 0.5]])
    seen = cams.Probe(network, cams.REFERENCE_LAYER)(images, towards)

    def cosine() -> float:
        return float((cams.Probe(network)(images, towards).embeddings * towards).sum())

    assert seen.maps.min() > step, "the ReLU is open in every cell, so that the bias moves them all"
    for channel, moved in enumerate(step * np.eye(5, dtype=np.float32)):
        values = []
        for bias in (open_bias + moved, open_bias - moved):
            layer.bias.assign(bias)
            values.append(cosine())
        assert seen.gradients[..., channel].sum() == pytest.approx((values[0] - values[1]) / (2 * step), abs=1e-4)
    assert np.abs(seen.gradients.sum(axis=(0, 1, 2))).max() > 0.05


def test_a_batch_gives_what_single_photos_give(monkeypatch):
    images = np.random.default_rng(1).random((5, 8, 12, 3), np.float32)
    prototypes = np.float32(np.eye(4)[[0, 1, 2, 3, 0]])
    probe = cams.Probe(skipping_network())
    whole = probe(images, prototypes)
    monkeypatch.setattr(cams, "BATCH", 2)
    parts = probe(images, prototypes)
    for name in ("maps", "gradients", "embeddings"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), atol=1e-6)


# --- looking up -----------------------------------------------------------------------------------------------------------

# two training photos: the first one's gradient is on channel 0, the second one's on channels 1 and (less) 2
LEARNED = cams.Seen(np.ones((2, 1, 1, 3)), np.float32([[[[1, 0, -9]]], [[[0, 2, 1]]]]), np.float32([[1, 0], [0, 1]]))
SEEN = cams.Seen(np.float32([[[[3, 5, 1]]], [[[3, 5, 1]]]]), None, np.float32([[0.8, 0.6], [0.6, 0.8]]))


def test_the_nearest_photo_lends_its_own_weights():
    heat = cams.look_up(cams.learn(LEARNED, None, 1, 0), SEEN)
    np.testing.assert_allclose(heat.ravel(), [3, 10])


def test_all_channels_take_negative_weights_too():
    heat = cams.look_up(cams.learn(LEARNED, None, 3, 0), SEEN)
    np.testing.assert_allclose(heat.ravel(), [0, 11])  # 3 - 9 is cold; 10 + 1


def test_clusters_are_looked_up_the_same_way():
    heat = cams.look_up(cams.learn(LEARNED, 2, 1, 0), SEEN)
    np.testing.assert_allclose(heat.ravel(), [3, 5])  # scaled: 1 is the peak of the cluster's own photo


# --- the whole comparison -------------------------------------------------------------------------------------------------


def photographed(name: str, label: str, seed: int) -> HeldOut:
    frame = np.random.default_rng(seed).integers(0, 256, (24, 36, 3), np.uint8)
    return HeldOut(frame, name, label, (6.0, 6.0, 18.0, 18.0))


class Blind:
    """Stands where a pipeline stands, and takes every hand for none."""

    bundle = replace(load_bundle(TINY), size_wh=(12, 8), labels=("gu", "pa", "none"), feature_shape_hwc=(4, 6, 5),
                     prototypes=np.eye(4, dtype=np.float32)[:3], closer=0.0)

    def __call__(self, frame_rgb):
        return SimpleNamespace(heat=np.zeros((4, 6), np.float32))


class LooksCloser(Blind):
    """Finds peak and box where its heat shows none."""

    bundle = replace(Blind.bundle, closer=0.1, box_threshold=0.45)

    def __call__(self, frame_rgb):
        return SimpleNamespace(heat=np.zeros((4, 6), np.float32), peak_xy=(12, 12), box_xyxy=Box(6, 6, 18, 12))


def compared(reference: bool) -> cams.Comparison:
    sets = [[photographed(f"mine/{label}/{session}_{i}.png", label, i) for i, label in enumerate(["gu", "pa"] * 4)]
            for session in ("train", "validation", "test")]
    ours = {"ours, float": Blind(), "ours, int8": Blind(), "ours, int8, closer": LooksCloser()}
    return cams.compare(skipping_network(reference=reference), Blind.bundle, ours, *sets)


@pytest.fixture(scope="module")
def found():
    return compared(reference=True)


def test_every_method_has_a_row_and_the_names_have_the_maps_own_size(found):
    names = [row.method for row in found.rows]
    at_ours = [name for name in names if name.endswith(", 4x6")]
    at_reference = [name for name in names if name.endswith(", 2x3 (reference's layer)")]
    assert len(at_ours) == 4 + 6 + 1 and len(at_reference) == 4 + 1
    ours = ["ours, float", "ours, int8", "ours, int8, closer"]
    assert names == at_ours + at_reference + ours + ["control: random", "control: middle of the frame"]
    assert all(len(heats.validation) == len(heats.test) == 8 for heats in found.heats)


def test_a_hand_taken_for_none_is_missed_and_its_pixels_taken_at_random(found):
    by_name = {row.method: row for row in found.rows}
    blind = by_name["ours, int8"]
    assert (blind.peak_inside, blind.box_iou) == (0, 0)
    assert 0 < blind.deletion < 1 and 0 < blind.insertion < 1


def test_what_the_device_places_by_a_closer_look_counts_as_it_is(found):
    closer = next(row for row in found.rows if row.method == "ours, int8, closer")
    assert (closer.peak_inside, closer.box_iou, closer.box_threshold) == (1.0, 0.5, 0.45)


def test_a_network_without_the_references_layer_goes_without():
    assert not [row for row in compared(reference=False).rows if "reference" in row.method]


def test_photos_without_a_known_place_are_refused():
    nowhere = [replace(photographed("mine/gu/1.png", "gu", 1), box_xyxy=None)]
    with pytest.raises(DataError, match="to train, to validate and to test; given: 0, 0, 0"):
        cams.compare(skipping_network(), Blind.bundle, {"ours, int8": Blind()}, nowhere, nowhere, nowhere)


# --- what is written ------------------------------------------------------------------------------------------------------

ROWS = [cams.Row("Grad-CAM, 4x6", 0.5, 0.25, 0.35, 0.125, 0.75), cams.Row('"mine" & <yours>', 1.0, 0.0, 0.5, 0.0625, 1.0)]


def test_text_has_a_heading_over_each_figure():
    heading, first, _ = cams.text(ROWS).splitlines()
    assert heading.split() == ["heat", "peak", "inside", "box", "IoU", "threshold", "deletion", "insertion"]
    assert first.split() == ["Grad-CAM,", "4x6", "0.500", "0.250", "0.350", "0.125", "0.750"]
    assert [first.index(figure) + 5 for figure in ("0.125", "0.750")] == [heading.index("deletion") + 8, len(heading)]


def test_csv_reads_back(tmp_path):
    cams.write_csv(tmp_path / "new" / "cams.csv", ROWS)
    with (tmp_path / "new" / "cams.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == ["method", "peak_inside", "box_iou", "box_threshold", "deletion", "insertion"]
    assert read[1]["method"] == ROWS[1].method and float(read[0]["deletion"]) == 0.125


def test_page_shows_seven_methods_a_photo_with_their_own_peaks_as_full_heat(found, tmp_path):
    path = tmp_path / "new" / "cams.html"
    cams.write_page(path, found)
    raw = path.read_text(encoding="utf-8")
    assert raw.count('<div class="strip">') == 8 and raw.count("<img") == 8 * 8
    assert raw.count("no heat") == 8 * 2, "neither of ours"
    assert "ways to make heat" in raw and "(reference&#x27;s layer)" in raw
    assert "<script" not in raw and "http" not in raw


def test_a_method_without_a_scale_is_drawn_alike_whatever_its_scale(found):
    index = next(i for i, heats in enumerate(found.heats) if heats.shown and not heats.fixed_scale and heats.test[0].any())
    louder = list(found.heats)
    louder[index] = replace(louder[index], test=[100 * heat for heat in louder[index].test])
    assert cams.strip(replace(found, heats=louder), 0) == cams.strip(found, 0)
    louder[index] = replace(louder[index], fixed_scale=True)
    assert cams.strip(replace(found, heats=louder), 0) != cams.strip(found, 0)


def test_sampled_photos_take_turns_in_label_and_session():
    frames = [photographed(f"mine/{label}/{session}_{i}.png", label, 0)
              for label, sessions in (("gu", "aaaaab"), ("pa", "cccd")) for i, session in enumerate(sessions)]
    chosen = cams.sample(frames, 4)
    assert [frames[i].label for i in chosen] == ["gu", "pa"] * 2
    assert {frames[i].name.split("/")[2][0] for i in chosen} == set("abcd"), "each session once"
    assert cams.sample(frames, 4) == chosen
    assert sorted(cams.sample(frames, 99)) == list(range(10))
    assert cams.sample([]) == []


def test_the_report_links_to_the_page_where_it_is(tmp_path):
    frames = [photographed("mine/gu/1.png", "gu", 1)]
    result = Result("gu", 0.9, {"gu": 0.9}, (36, 24), None, None, 0, np.zeros((4, 4), np.float32), np.float32([1, 0]))
    summary = {"bundle": "tiny", "passed": True, "frames": "held-out photos", "float": {"frames": 1}, "int8": {"frames": 1},
               "int8_against_float": {}, "gate": []}

    def page() -> str:
        report.write(tmp_path / "index.html", summary, load_bundle(TINY), frames, [result], [result])
        return (tmp_path / "index.html").read_text(encoding="utf-8")

    assert "<a " not in page()
    (tmp_path / "cams.html").touch()
    assert '<a href="cams.html">' in page()
