"""Steps that are recorded give what they give as they come; and on a CPU none is recorded."""

import pytest
import torch

from benchmark.parts import Dropout
from benchmark.running import recorded
from benchmark.running.recorded import Recorded, Ways, coins_of_the_device, compiled


def counting():
    """A step with a state, as one of Adam has, and how often it ran."""
    total, runs = torch.zeros(()), []

    def step(fields):
        runs.append(fields)
        total.add_(fields["x"].sum())
        return total + fields["deep"]["y"].sum()

    return step, runs


def fields(n, value):
    return {"x": torch.full((n,), float(value)), "deep": {"y": torch.tensor([10.0 * value])}}


def again(work):
    """What stands in for a graph of a GPU: the same work, on the same buffers, into the same result."""
    results = []

    def replay():
        result = work()
        results.append(results[0].copy_(result) if results else result)
        return results[0]

    return replay


def test_what_is_recorded_gives_what_the_step_gives():
    step, _ = counting()
    plain, _ = counting()
    run = Recorded(step, again)
    given = [fields(2 + i % 2, i) for i in range(9)]
    assert torch.stack([run(f) for f in given]).equal(torch.stack([plain(f) for f in given]))


def test_each_shape_has_buffers_of_its_own_behind_its_first_step():
    step, runs = counting()
    recordings = []
    run = Recorded(step, lambda work: recordings.append(work) or again(work))
    kept = [run(fields(n, value)) for value, n in enumerate((2, 2, 3, 2, 3))]
    assert len(recordings) == 2
    assert runs[1]["x"] is runs[3]["x"] and runs[4]["x"].shape == (3,)
    assert kept[1] != kept[3]  # what was given out is not written over


def test_a_step_that_cannot_be_recorded_is_computed_as_it_comes_and_says_so_once():
    def refuse(work):
        raise RuntimeError("not permitted when stream is capturing\nand more")

    step, _ = counting()
    plain, _ = counting()
    run = Recorded(step, refuse)
    given = [fields(2, i) for i in range(5)]
    with pytest.warns(UserWarning) as warned:
        found = [run(f) for f in given]
    assert [str(w.message) for w in warned] == [
        "steps are not recorded as CUDA graphs: RuntimeError: not permitted when stream is capturing"
    ]
    assert found == [plain(f) for f in given]


def test_a_step_that_draws_on_the_cpu_is_not_recorded():
    def step(fields):
        return torch.rand(())

    run = Recorded(step, lambda work: pytest.fail("it was recorded"))
    with pytest.warns(UserWarning, match="draws numbers on the CPU"):
        assert run(fields(2, 0)) != run(fields(2, 0))


def test_a_step_that_copies_between_devices_is_not_recorded():
    def step(fields):
        fields["x"].to("meta", non_blocking=True)
        return fields["x"].double().sum()  # which copies, too, but stays where it is

    run = Recorded(step, lambda work: pytest.fail("it was recorded"))
    with pytest.warns(UserWarning, match="copies between the CPU and the device"):
        assert [run(fields(2, i)) for i in range(3)] == [0.0, 2.0, 4.0]


def test_so_many_shapes_are_recorded_and_no_more(monkeypatch):
    monkeypatch.setattr(recorded, "_SHAPES", 2)
    recordings = []
    step, _ = counting()
    run = Recorded(step, lambda work: recordings.append(work) or work)
    for n in (1, 2, 3) * 3:
        run(fields(n, 0))
    assert len(recordings) == 2


def test_coins_are_thrown_anew_where_they_are_recorded_and_come_from_the_pool_elsewhere():
    pool, x = recorded.importlib.import_module("benchmark.parts.dropout"), torch.ones(3, 400)
    before = pool._stretch
    state = torch.get_rng_state()
    drop = torch.func.vmap(Dropout(0.25), randomness="different")
    with coins_of_the_device():
        first, second = drop(x), drop(x)
    assert pool._stretch is before
    assert not first.equal(second) and not first[0].equal(first[1])
    for mask in (first, second):
        assert mask.unique().tolist() == pytest.approx([0.0, 4 / 3])
        assert abs(float((mask == 0).double().mean()) - 0.25) < 0.06
    torch.set_rng_state(state)
    drop(x)
    assert not torch.equal(state, torch.get_rng_state())


def test_nothing_of_it_is_done_without_a_gpu():
    ways = Ways(graphs=True, bf16=True, compiled=True).on(torch.device("cpu"))
    assert ways == Ways(graphs=False) and ways.multiple == 1
    step = torch.sum
    assert ways.stepping(step) is step and ways.deriving(step) is step
    with ways.precision(), ways.coins():
        assert not torch.is_autocast_enabled("cuda")


def test_a_gpu_has_what_is_asked_for():
    ways = Ways(graphs=True, bf16=True, compiled=True)
    assert ways.on(torch.device("cuda")) is ways and ways.multiple > 1


def test_compiled_code_gives_values_and_gradients_for_each_shape():
    def derive(x, y):
        y.add_(1)
        value = (x.exp() * y).sum()
        return {"value": value}, [torch.autograd.grad(value, x)[0], None]

    run = compiled(derive, backend="eager")
    for n in (2, 2, 3):
        x, y = torch.rand(n, requires_grad=True), torch.zeros(n)
        named, (gradient, none) = run(x, y)
        assert none is None and y.equal(torch.ones(n))
        assert torch.allclose(named["value"], x.exp().sum()) and torch.allclose(gradient, x.exp())
        assert not gradient.requires_grad
