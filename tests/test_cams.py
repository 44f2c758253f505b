"""The per-image methods, against maps worked out by hand."""

import numpy as np
import pytest

from export import cams

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


def test_layer_cam_weighs_every_cell_by_its_own_gradient():
    gradient = np.array([[[3.0, 5.0], [-1.0, -2.0]]])
    np.testing.assert_allclose(cams.layer_cam(MAPS, gradient), [[6.0, 0.0]])


@pytest.mark.parametrize("sign", [1, -1])
def test_eigen_cam_follows_the_strongest_direction_whatever_its_sign(sign):
    maps = np.array([[[3.0, 4.0], [0.0, 0.0]]])
    np.testing.assert_allclose(cams.eigen_cam(sign * maps, maps)[0, 0], 5.0)
    assert cams.eigen_cam(maps, maps)[0, 1] == 0
