"""What is CubeMLP's own: how the cube is filled, and that it is mixed along each of its three axes."""

import pytest
import torch

from baselines.cubemlp import CHANNEL, MODALITY, SEQUENCE, AxisMLP, CubeMLP, mixing_block, place
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, small_task


def small_cubemlp(task=None, **options):
    torch.manual_seed(0)
    return CubeMLP(task or small_task(), **{"d": 16, "mixed_length": 4, "mixed_d": 5, **options}).eval()


def reached(layer, cube, where):
    """Which entries of the result change when one entry of the cube does."""
    other = cube.clone()
    other[where] += 1.0
    return (layer(other) - layer(cube)).abs() > 1e-7


@pytest.mark.parametrize("axis", [SEQUENCE, MODALITY, CHANNEL])
@torch.no_grad()
def test_each_mlp_mixes_along_its_axis_and_no_other(axis):
    torch.manual_seed(0)
    cube, where = torch.randn(2, 6, 3, 8), (0, 2, 1, 4)
    changed = reached(AxisMLP(axis, cube.shape[axis], 5, 0.1).eval(), cube, where)
    assert changed.shape[axis] == 5 and not changed[1].any()
    for other in {SEQUENCE, MODALITY, CHANNEL} - {axis}:
        touched = changed.any(dim=tuple({0, 1, 2, 3} - {other}))
        assert touched.nonzero().flatten().tolist() == [where[other]]
    assert changed.any(dim=tuple({0, 1, 2, 3} - {axis})).all()


@torch.no_grad()
def test_a_block_mixes_along_all_axes():
    torch.manual_seed(0)
    block, cube = mixing_block((6, 3, 8), (4, 3, 5), 0.1).eval(), torch.randn(2, 6, 3, 8)
    changed = reached(block, cube, (0, 2, 1, 4))
    assert changed.shape == (2, 4, 3, 5) and not changed[1].any()
    for axis in (SEQUENCE, MODALITY, CHANNEL):
        assert changed.any(dim=tuple({0, 1, 2, 3} - {axis})).all()
    assert [mlp.axis for mlp in block] == [SEQUENCE, MODALITY, CHANNEL]


@torch.no_grad()
def test_every_position_modality_and_channel_of_the_cube_counts():
    model = small_cubemlp()
    cube = torch.randn(1, 8, 3, 16, requires_grad=True)
    with torch.enable_grad():
        model.head(model.mix(cube).mean(SEQUENCE).flatten(1))[0, 0].backward()
    assert (cube.grad.abs() > 0).all()


def test_short_modalities_keep_their_frames_and_are_padded_with_zeros():
    x = torch.randn(2, 5, 3)
    placed = place(x, 8)
    assert torch.equal(placed[:, :5], x) and placed.shape == (2, 8, 3) and not placed[:, 5:].any()


def test_long_modalities_are_averaged_over_equal_parts_of_the_longest_sample():
    x = torch.randn(2, 20, 3)
    placed = place(x, 5)  # four frames a position
    assert torch.allclose(placed, x.view(2, 5, 4, 3).mean(2), atol=1e-6)
    assert torch.allclose(place(x[:, :7], 5)[:, 1], x[:, 2:3].mean(1), atol=1e-6)


@torch.no_grad()
def test_the_cube_holds_each_modality_at_its_place():
    task = small_task("mosi", {"l": 4, "a": 9, "v": 30})
    batch = random_batch(task, 3, seed=1, lengths={"l": [4, 2, 0], "a": [9, 9, 9], "v": [30, 7, 1]})
    model = small_cubemlp(task, length=12)
    with torch.no_grad():
        model.recurrent["a"].norm.bias.fill_(0.5)  # what stands at padding of audio, as in the official code
        model.recurrent["v"].norm.bias.fill_(-9.0)  # and of vision: nothing, behind the rectifier
        model.recurrent["v"].norm.weight.zero_()
    cube = model.cube(batch)
    assert cube.shape == (3, 12, 3, 16)
    filled = cube.abs().sum(CHANNEL) > 0  # (N, L, M)
    expected = torch.zeros_like(filled)
    for i, lengths in enumerate(((4, 9, 0), (2, 9, 0), (0, 9, 0))):
        for s, stop in enumerate(lengths):
            expected[i, :stop, s] = True
    assert torch.equal(filled, expected)
    short = model.cube(random_batch(task, 1, seed=1, lengths={"l": [1], "a": [2], "v": [3]}))
    assert torch.allclose(short[0, 2:9, 1], torch.full((7, 16), 0.5))
    assert model.represent(batch).shape == (3, len(MODALITIES) * 5)
    assert small_cubemlp(task, length=50).length == 30  # no more positions than the longest sample has frames


def test_recurrent_weights_start_orthogonal():
    model = CubeMLP(small_task(), d=8)
    weights = [w for name, w in model.named_parameters() if "weight_hh" in name]
    assert len(weights) == 8  # two layers of two directions for audio and for vision
    for w in weights:
        assert torch.allclose(w.T @ w, torch.eye(w.shape[1]), atol=1e-5)
