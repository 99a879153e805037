"""Cells of made-up predictions, written to a store."""

import json

import numpy as np

from benchmark.protocol.missing import Setting
from benchmark.running.store import DONE, Predictions, Store, write_predictions, write_record

OTHER = {"hyperparameters": {"layers": 3}}
"""Another definition of a row."""
SETTINGS = ((Setting("lav"), 0), (Setting("l"), 0))
LABELS = np.array([-1.0, 0.5, 1.0], dtype=np.float32)


def write_cell(
    folder,
    key,
    *,
    settings=SETTINGS,
    right=True,
    ids="abc",
    labels=LABELS,
    outputs=None,
    epochs=1,
    finished="2",
    **changed,
):
    """A cell of `mult` on simulated MOSI, seed 0, whose predictions are all right or all wrong, or have these outputs (of each setting)."""
    record = {
        "state": DONE,
        "key": key,
        "label": "mult",
        "method": "mult",
        "hyperparameters": {"layers": 2},
        "seed": 0,
        "task": {"name": "mosi", "fingerprint": "f0"},
        "data": {"source": "simulated", "kind": "sentiment", "categories": ["negative", "non-negative"]},
        "training": {"trains_on": "complete"},
        "settings": [str(setting) for setting, _ in settings],
        "epochs": epochs,
        "finished": finished,
    } | changed
    store = Store(folder)
    truth = (labels >= 0).astype(int)
    logits = np.eye(2, dtype=np.float32)[truth if right else 1 - truth] if outputs is None else outputs
    losses = {"train_loss": 0.5, "valid_loss": 0.6, "valid_f1": 70.0}
    history = [{"stage": "s", "epoch": place, **losses} for place in range(1, epochs + 1)]
    with store.attempt(key) as side:
        if record["state"] == DONE:
            write_predictions(
                side,
                Predictions(
                    np.array(list(ids)),
                    labels,
                    settings,
                    np.stack([logits] * len(settings)) if logits.ndim == 2 else logits,
                ),
            )
            (side / "history.jsonl").write_text("".join(f"{json.dumps(epoch)}\n" for epoch in history))
        write_record(side, record)
    return store
