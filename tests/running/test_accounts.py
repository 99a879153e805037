"""What a prediction costs: operations and memory of small layers by hand, and that counting changes nothing."""

import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.flop_counter import FlopCounterMode

from benchmark.data.batches import task_spec
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.methods import catalogue
from benchmark.methods.loading import load
from benchmark.protocol.method import Method
from benchmark.running import accounts
from benchmark.running.accounts import SAMPLES, Counted, account_of, count
from tests.batches import random_batch, small_task

CPU = torch.device("cpu")
N, T, D, H = 3, 5, 7, 4  # samples, frames, features, width


def counted(module, *inputs):
    with torch.no_grad(), Counted() as found:
        module(*inputs)
    return found


@pytest.fixture(scope="module")
def mosi():
    return simulate(known_tasks()["mosi"], sizes=(24, 16, 40))


@pytest.mark.parametrize(
    ("layer", "shape", "operations"),
    [
        (nn.Linear(D, H), (N, D), 2 * N * D * H),
        (nn.Linear(D, H, bias=False), (N, T, D), 2 * N * T * D * H),
        (nn.Conv1d(D, H, 3, padding=1), (N, D, T), 2 * N * T * D * H * 3),
        (nn.LSTM(D, H, batch_first=True), (N, T, D), 2 * N * T * 4 * H * (D + H)),
        (nn.GRU(D, H, batch_first=True), (N, T, D), 2 * N * T * 3 * H * (D + H)),
        (nn.LSTM(D, H, 2, bidirectional=True), (T, N, D), 2 * N * T * 2 * 4 * H * (D + H + 2 * H + H)),
        (lambda x: x @ x[0], (N, D), 2 * N * D),
        (lambda x: torch.dot(x, x), (D,), 2 * D),
        (lambda x: torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist"), (N, D), 3 * N * N * D),
        (lambda x: F.scaled_dot_product_attention(x, x, x), (N, 1, T, D), 2 * N * 2 * T * T * D),
        (nn.Sequential(nn.LayerNorm(D), nn.GELU(), nn.Softmax(-1)), (N, D), 0),
    ],
)
@pytest.mark.parametrize("mkldnn", [True, False])
def test_operations_are_those_of_the_layers_by_hand(layer, shape, operations, mkldnn, monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", mkldnn)  # without, an LSTM runs as products of matrices
    found = counted(layer, torch.rand(shape))
    assert found.operations == operations and not found.uncounted


def test_of_packed_frames_only_the_real_ones_count():
    packed = pack_padded_sequence(torch.rand(N, T, D), torch.tensor([5, 2, 1]), batch_first=True)
    assert counted(nn.LSTM(D, H), packed).operations == 2 * (5 + 2 + 1) * 4 * H * (D + H)


def test_they_are_those_that_torch_counts_where_it_counts_all():
    model, x = (
        nn.Sequential(nn.Conv1d(D, H, 3), nn.ReLU(), nn.Flatten(), nn.Linear(H * (T - 2), 2)),
        torch.rand(N, D, T),
    )
    with torch.no_grad(), FlopCounterMode(display=False) as torchs:
        model(x)
    assert counted(model, x).operations == torchs.get_total_flops() > 0


def test_what_has_no_formula_is_named_and_never_zero_in_silence():
    assert counted(torch.fft.rfft, torch.rand(N, 8)).uncounted == {"aten._fft_r2c"}
    assert counted(torch.linalg.inv, torch.rand(N, D, D)).uncounted == {"aten.linalg_inv_ex"}


class Attentive(Method):
    """A layer of torch, which in evaluation runs as one operation unless that is switched off."""

    def __init__(self, task):
        super().__init__(task)
        self.layer = nn.TransformerEncoderLayer(task.feature_dims["l"], 2, 16, batch_first=True)
        self.head = nn.Linear(task.feature_dims["l"], task.num_outputs)

    def predict(self, batch):
        return self.head(self.layer(batch.features["l"]).mean(1))


def test_a_layer_that_torch_runs_as_one_operation_is_counted():
    task = small_task(num_frames=4)
    batch, d = random_batch(task, N, seed=0, lengths={m: [4] * N for m in "lav"}), task.feature_dims["l"]
    before = torch.backends.mha.get_fastpath_enabled()
    with torch.no_grad():
        found = count(Attentive(task).eval(), batch)
    attention = 2 * N * 4 * d * (3 * d + d) + 2 * N * 2 * 4 * 4 * d  # projections in and out, and all pairs of frames
    assert found.operations == attention + 2 * N * 4 * 2 * d * 16 + 2 * N * d * 2 and not found.uncounted
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_memory_is_that_of_the_tensors_that_are_there_at_once():
    def predict(x):  # of 1,000 bytes, like each of its results
        y = x + 1
        z = y.view(10, 25) * 2  # a view has no memory of its own
        del y
        return z.add_(1).sum() + (z * 3).sum()

    x = torch.rand(250)
    found = Counted()
    found.hold(x)
    found.hold(x[:100])
    with found:
        predict(x)
    assert found.most == 3 * 1000 + 2 * 4  # x, z and its product, beside both sums


def test_memory_of_a_prediction_holds_weights_and_samples(mosi):
    method = load(catalogue()["linear"])(task_spec(mosi))
    with torch.no_grad():
        found = account_of(method, mosi, CPU)
    test = mosi.splits["test"]
    longest = {m: int(test.lengths[m][:SAMPLES].max()) for m in "lav"}
    samples = sum(SAMPLES * t * (4 * test.features[m].shape[2] + 1) for m, t in longest.items())  # and which are real
    weights = sum(4 * x.numel() for x in method.buffers())
    assert found["samples"] == SAMPLES and 0 < found["memory"] - samples - weights < samples / 2


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_every_method_of_the_house_is_counted_whole_and_is_left_as_it_was(name, mosi, monkeypatch):
    monkeypatch.setattr(accounts, "_REPEATS", (1, 1))
    torch.manual_seed(0)
    method = load(catalogue()[name])(task_spec(mosi))
    weights, random = {k: v.clone() for k, v in method.state_dict().items()}, torch.get_rng_state()
    found = account_of(method, mosi, CPU)
    assert found.get("uncounted") == [] and "fault" not in found
    assert (found["operations"] > 0) == (name not in ("constant", "random"))
    assert found["memory"] > 4 * sum(p.numel() for p in method.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, weights[k]) for k, value in method.state_dict().items())


def test_operations_and_memory_are_the_same_each_time(mosi):
    method = load(catalogue()["mult"])(task_spec(mosi))
    first, second = (account_of(method, mosi, CPU) for _ in range(2))
    assert [first[what] for what in ("operations", "memory")] == [second[what] for what in ("operations", "memory")]


class Timed(Method):
    """Takes a time that it is told, by a clock that nobody waits for."""

    def __init__(self, task, clock, takes):
        super().__init__(task)
        self.clock, self.takes = clock, iter(takes)

    def predict(self, batch):
        self.clock[0] += next(self.takes)
        return torch.rand(len(batch), 2)


def test_seconds_are_the_median_of_repeats_behind_a_first_one(mosi, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    random = torch.get_rng_state()
    slow = account_of(Timed(task_spec(mosi), clock, [9.0, 9.0, 0.8, 1.6, 8.0]), mosi, CPU)
    assert torch.equal(torch.get_rng_state(), random), "though predicting draws some"
    assert (slow["seconds"], slow["repeats"]) == (pytest.approx(1.6 / SAMPLES), 3), "the count, one more, three repeats"
    fast = account_of(Timed(task_spec(mosi), clock, [9.0, 9.0, *[1e-3] * 99]), mosi, CPU)
    assert (fast["seconds"], fast["repeats"]) == (pytest.approx(1e-3 / SAMPLES), 15)


def test_what_goes_wrong_is_told_and_costs_no_model(mosi):
    found = account_of(Timed(task_spec(mosi), [0.0], [1.0]), mosi, CPU)
    assert found == {"fault": "StopIteration: "}
