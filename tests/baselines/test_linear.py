"""What is the linear floor's own: it is scikit-learn's logistic regression, and absent modalities are the mean."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from baselines.linear import Linear
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, select, small_task


def fitted(task, batches):
    model = Linear(task, regularisation=2.0).eval()
    with torch.no_grad():
        model.start_stage(model.stages[0], batches)
    return model


def plain_means(batch):
    """Loops over samples: the mean of each modality's present frames, side by side."""
    rows = []
    for i in range(len(batch)):
        parts = [batch.features[m][i][batch.present[m][i]].double().mean(0) for m in MODALITIES]
        rows.append(torch.cat(parts).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("name", ["mosi", "iemocap"])
def test_it_is_scikit_learns_regression_of_the_same_means(name):
    task = small_task(name)
    train, test = random_batch(task, 60, seed=0), random_batch(task, 20, seed=1, training=False)
    model = fitted(task, [select(train, list(range(40))), select(train, list(range(40, 60)))])
    scaler = StandardScaler().fit(plain_means(train))
    regression = LogisticRegression(C=0.5, max_iter=1000)
    regression.fit(scaler.transform(plain_means(train)), train.labels.numpy())
    x = scaler.transform(plain_means(test))
    logits = model.predict(test)
    np.testing.assert_allclose(logits.softmax(1).numpy(), regression.predict_proba(x), atol=1e-4)
    decision = logits[:, 1] - logits[:, 0] if name == "mosi" else logits
    np.testing.assert_allclose(decision.numpy(), regression.decision_function(x), atol=1e-3)


def test_missing_frames_are_left_out_and_absent_modalities_are_the_training_mean():
    task = small_task()
    train = random_batch(task, 60, seed=0)
    model = fitted(task, [train])
    batch = random_batch(task, 6, seed=1, kept=0.5, training=False)
    frames = {m: torch.ones_like(batch.frames[m]) for m in MODALITIES}
    assert torch.equal(model.predict(replace(batch, frames=frames)), model.predict(batch))
    without_audio = model.represent(random_batch(task, 6, seed=1, available="lv", training=False))
    language, audio, vision = without_audio.split(model.widths, dim=1)
    assert not audio.any() and language.all() and vision.all()


def test_a_category_that_training_lacks_is_never_predicted():
    task = small_task("iemocap")
    train = random_batch(task, 60, seed=0)
    for present in ([1, 3], [2]):
        some = select(train, [i for i, k in enumerate(train.labels.tolist()) if k in present])
        predicted = fitted(task, [some]).predict(random_batch(task, 30, seed=1)).argmax(1)
        assert set(predicted.tolist()) <= set(present)


def test_what_is_fitted_is_counted_and_not_trained():
    task = small_task()
    fitted_ones = list(fitted(task, [random_batch(task, 60, seed=0)]).parameters())
    width = sum(task.feature_dims.values())
    assert sum(p.numel() for p in fitted_ones) == task.num_outputs * (width + 1)
    assert not any(p.requires_grad for p in fitted_ones)
