"""The speed suite counts the operations inside an LSTM itself: they are those that torch counts where it can."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tests.speed.contender import lstm_operations


class Counted(TorchFunctionMode):
    operations = 0

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        if function.__name__ == "lstm":
            self.operations += lstm_operations(*arguments)
        return function(*arguments, **(keywords or {}))


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("is_trained", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"bidirectional": True, "num_layers": 2}, {"bias": False}])
def test_operations_of_an_lstm(options, is_trained, is_packed):
    network = nn.LSTM(20, 20, batch_first=True, **options)
    x = torch.randn(4, 50, 20)
    with (
        torch.backends.mkldnn.flags(enabled=False),  # so that torch can count them
        torch.set_grad_enabled(is_trained),
        FlopCounterMode(display=False) as counter,
        Counted() as counted,
    ):
        states, _ = network(pack_padded_sequence(x, [50] * 4, batch_first=True) if is_packed else x)
        if is_trained:
            (states.data if is_packed else states).sum().backward()
    assert counted.operations == pytest.approx(counter.get_total_flops(), rel=0.02) and counted.operations > 0
