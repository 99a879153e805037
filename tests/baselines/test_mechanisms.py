"""What methods tell of their mechanisms, against plain loops over what must be rebuilt."""

import numpy as np
import pytest
import torch

from baselines.gcnet import windows
from baselines.selfmm import FUSION
from benchmark import methods
from benchmark.protocol.method import Stage
from benchmark.protocol.missing import MODALITIES
from tests.batches import random_batch, select, small_task

ENTRIES = methods.catalogue()
TELLING = ("dicmor", "ebmc", "gcnet", "hrlf", "lnln", "mctn", "momke", "mplmm", "p_rmf", "smil", "tfr_net", "transm")


def built(name):
    torch.manual_seed(0)
    return methods.load(ENTRIES[name])(small_task()).eval()


def incomplete(seed=1):
    """Frames are missing everywhere, and of some samples a whole modality is."""
    batch = random_batch(small_task(), 9, seed=seed, kept=0.5)
    for i, m in enumerate(MODALITIES):
        batch.present[m][i::3], batch.features[m][i::3] = False, 0.0
    return batch


def errors(pairs):
    """Mean absolute errors of pairs of vectors found and wanted, and of the mean of those wanted."""
    found, wanted = (np.array([x.detach().numpy() for x in side]) for side in zip(*pairs, strict=True))
    return np.abs(found - wanted).mean(), np.abs(wanted.mean(0) - wanted).mean()


def numbers(told):
    return tuple(x.item() for x in told)


@pytest.mark.parametrize("name", sorted(set(ENTRIES)))
def test_what_is_told_are_pairs_of_numbers(name):
    told = built(name).mechanism(incomplete())
    assert bool(told) == (name in TELLING)
    for value, idle in told.values():
        assert value.ndim == idle.ndim == 0 and value >= 0 and idle > 0


def test_tfr_net_tells_of_frames_that_are_missing():
    model, batch = built("tfr_net"), incomplete()
    told, extracted = model.mechanism(batch), model.extract(batch)
    for m in MODALITIES:
        lost = (batch.frames[m] & ~batch.present[m]).nonzero().tolist()
        pairs = [(model.generators[m](extracted[m][i, t]), batch.complete[m][i, t]) for i, t in lost]
        assert numbers(told[f"rebuilt {m}"]) == pytest.approx(errors(pairs), rel=1e-4)


def test_gcnet_tells_of_windows_that_lack_frames():
    model, batch = built("gcnet"), incomplete()
    told = model.mechanism(batch)
    hidden = model.nodes(batch).hidden.view(len(batch), 3, model.num_windows, -1)
    for s, m in enumerate(MODALITIES):
        pairs = []
        for i, w, covered in indexed(windows(batch.frames[m], model.num_windows)):
            lost = [t for t in range(len(covered)) if covered[t] and not batch.present[m][i, t]]
            if lost:
                pairs.append((model.completers[m](hidden[i, s, w]), batch.complete[m][i, lost].mean(0)))
        assert numbers(told[f"completed {m}"]) == pytest.approx(errors(pairs), rel=1e-4)


def indexed(covered):
    """Sample, window, and which frames are in it."""
    return [(i, w, covered[i, w].tolist()) for i in range(covered.shape[0]) for w in range(covered.shape[1])]


def test_smil_tells_of_modalities_that_are_missing():
    model, batch = built("smil"), incomplete()
    with torch.no_grad():
        model.start_stage(model.stages[0], [batch])
        model.start_stage(model.stages[1], [incomplete(2)])  # which finds the centres
    told = model.mechanism(batch)
    available, there = model.extract(batch.features, batch.present)
    complete, _ = model.extract(batch.complete, batch.frames)
    for i, m in enumerate(MODALITIES):
        lost = [n for n in range(len(batch)) if batch.frames[m][n].any() and not batch.present[m][n].any()]
        pairs = [(model.rebuild(available, there)[n, i], complete[n, i]) for n in lost]
        assert lost and numbers(told[f"rebuilt {m}"]) == pytest.approx(errors(pairs), rel=1e-4, abs=1e-6)


def test_lnln_tells_of_its_estimate_of_completeness():
    model, batch = built("lnln"), incomplete()
    told = model.mechanism(batch)
    shares = (batch.present["l"].sum(1) / batch.frames["l"].sum(1))[:, None]
    with torch.no_grad():
        estimates = [model.correct(model.compress(b.features)).completeness for b in each(batch)]
    assert numbers(told["completeness"]) == pytest.approx(errors(list(zip(estimates, shares, strict=True))), rel=1e-4)
    assert set(told) == {"completeness", *(f"reconstructed {m}" for m in MODALITIES)}


def each(batch):
    return [select(batch, [i]) for i in range(len(batch))]


def test_mctn_tells_of_its_translations():
    model, batch = built("mctn"), random_batch(small_task(), 5, seed=1)
    told = model.mechanism(batch)
    for name, m, error in zip(told, "alv", model.translation_losses(batch, *model.encode(batch)), strict=True):
        wanted = batch.complete[m][batch.frames[m]].numpy()
        assert numbers(told[name]) == pytest.approx((error.item(), wanted.var(0).mean()), rel=1e-4)


def test_self_mm_learns_no_generated_label_before_the_third_epoch():
    assert built("self_mm").stages == (Stage("training", idle=2),)
    model, batch = built("self_mm").train(), random_batch(small_task(), 12, seed=1)
    with torch.no_grad():
        model.start_stage(model.stages[0], [batch])
    for epoch in (1, 2, 3):
        moved = any(not torch.equal(model.memory.labels[m], model.memory.labels[FUSION]) for m in MODALITIES)
        assert moved == (epoch > model.stages[0].idle), "of the labels that this epoch learns"
        model.terms(batch)
