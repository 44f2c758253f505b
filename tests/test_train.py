"""export/train.py: the losses, against numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from export.train import FAINT, Teacher, loudness, unlike


def heard(activity, target, has_heat=1.0) -> float:
    """`loudness` of one frame of 4x4 cells with two equal channels."""
    maps = np.repeat(np.array(activity, np.float32)[None, ..., None], 2, axis=-1)
    return float(loudness(tf.constant(maps), tf.constant(np.array(target, np.float32)[None]), tf.constant([has_heat])))


HAND = np.zeros((4, 4))
HAND[0, 0] = 1  # its neighbours up to (1, 1) count neither as hand nor as beside it


def test_as_loud_beside_the_hand_as_on_it_is_one():
    assert heard(np.full((4, 4), 3.0), HAND) == pytest.approx(1)


def test_silence_beside_the_hand_costs_nothing_whatever_its_neighbours_do():
    activity = np.zeros((4, 4))
    activity[:2, :2] = 5
    assert heard(activity, HAND) == 0


def test_turning_everything_down_does_not_help():
    activity = np.full((4, 4), 2.0)
    activity[0, 0] = 4
    assert heard(activity, HAND) == pytest.approx(0.5)
    assert heard(activity / 10, HAND) == pytest.approx(0.5)


def test_a_faint_map_is_not_blamed_more_the_fainter_it_is():
    activity = np.full((4, 4), 2.0)
    activity[0, 0] = 4
    assert heard(activity * FAINT / 40, HAND) == pytest.approx(0.05)


def test_a_frame_whose_hand_is_somewhere_unknown_is_not_asked():
    assert heard(np.full((4, 4), 3.0), np.zeros((4, 4)), has_heat=0.0) == 0


def test_a_teacher_is_missed_by_the_angle_of_the_embedding_and_by_the_map():
    maps, embedding = tf.fill((2, 3, 3, 4), 2.0), tf.constant([[1.0, 0.0], [0.0, 1.0]])
    assert [float(v) for v in unlike([maps, embedding], [maps, 5 * embedding])] == [0, 0], "length is not looked at"
    turned, error = unlike([1.5 * maps, embedding], [maps, tf.constant([[1.0, 0.0], [1.0, 0.0]])])
    assert float(turned) == pytest.approx(0.5), "one of two frames is at a right angle"
    assert float(error) == pytest.approx(0.25)


def test_a_learner_with_an_embedding_of_its_own_is_taught_the_map_and_the_cosines_to_the_classes():
    maps, embedding, cosines = tf.fill((2, 3, 3, 4), 2.0), tf.ones((2, 5)), tf.constant([[0.0, 1.0], [1.0, 0.0]])
    centres, said = np.eye(2, 7, dtype=np.float32), np.eye(2, 7, dtype=np.float32)[[1, 1]]  # both of class 1 to the teacher
    turned, error = unlike([1.5 * maps, embedding], [maps, said])
    assert float(turned) == 0 and float(error) == pytest.approx(0.25), "of another width: the map alone can be compared"
    teacher = Teacher(lambda frames, training: [maps, tf.constant(3 * said)], centres, embeds=False)
    assert float(teacher.unlike(maps, [1.5 * maps, embedding], cosines)) == pytest.approx(0.25 + 1)  # (0 + 2) / 2


def test_a_learner_of_the_teacher_s_embedding_is_taught_that():
    maps, said = tf.fill((2, 3, 3, 4), 2.0), tf.constant(np.eye(2, 7, dtype=np.float32)[[1, 1]])
    teacher = Teacher(lambda frames, training: [maps, said], np.eye(2, 7, dtype=np.float32), embeds=True)
    assert float(teacher.unlike(maps, [maps, said[:, ::-1]], tf.zeros((2, 2)))) == pytest.approx(1)
