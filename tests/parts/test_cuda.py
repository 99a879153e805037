"""A GPU gives what the CPU gives. Skipped, and said to be, where there is none."""

import numpy as np
import pytest
import torch

from benchmark import methods
from benchmark.data import find_task, find_tasks, load_task
from benchmark.data.batches import task_spec
from benchmark.protocol.missing import Setting
from benchmark.protocol.training_config import TrainingConfig
from benchmark.running.evaluation import predict_settings
from benchmark.running.training import train
from tests.batches import without_dropout

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
ENTRIES = methods.catalogue()


@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_training_agrees_with_the_cpu(name):
    tasks, _ = find_tasks([find_task("mosi")], None, asked=True, sizes=(64, 32, 32))
    dataset = load_task(tasks[0])
    logits = []
    for device in map(torch.device, ("cpu", "cuda")):
        torch.manual_seed(0)
        method = without_dropout(methods.load(ENTRIES[name])(task_spec(dataset))).to(device)
        config = TrainingConfig(epochs=2, learning_rate=1e-4, batch_size=16)
        train(method, dataset, trains_on="missing", config=config, seed=0, device=device)
        logits.append(predict_settings(method, dataset, [Setting(), Setting("l", 0.5)], draw=0, device=device))
    assert np.abs(logits[0] - logits[1]).max() < 0.02
