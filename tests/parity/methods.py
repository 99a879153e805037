"""What each method gives for the official code's inputs: its outputs, intermediates, terms of the loss and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import cosine_similarity as cosine

from baselines.cubemlp import CubeMLP
from baselines.dmd import DMD, margin_loss
from baselines.lnln import LNLN
from baselines.misa import MISA
from baselines.mult import MulT
from baselines.selfmm import LabelMemory, SelfMM
from baselines.tfrnet import TFRNet
from benchmark import MODALITIES, Batch, Method
from tests.parity.fixtures import Fixture, Values, gradients_of
from tests.parity.lnln import adopt, as_stored


def build(cls: type[Method], fixture: Fixture, case: str) -> Method:
    """The method in training mode, with the stored sizes and weights."""
    method = cls(fixture.task(case), **fixture.about["hyperparameters"])
    method.load_state_dict(fixture.weights, strict=False)
    return method.train()


def outputs(method: Method, batch: Batch) -> Tensor:
    """Logits in evaluation."""
    method.eval()
    with torch.no_grad():
        logits = method.predict(batch)
    method.train()
    return logits


def gradients(fixture: Fixture, method: Method, loss: Tensor) -> Values:
    """Of all weights."""
    norms, small = fixture.gradients(gradients_of(method, loss))
    return {"gradient_norms": norms, "small_gradients": small}


def side_by_side(parts: Sequence[Tensor], frames: Sequence[Tensor], length: int = 12) -> Tensor:
    """(N, T_s, d) each → (S, N, 12, d): zero at padding, and behind the longest."""
    return torch.stack(
        [F.pad(x * f[..., None], (0, 0, 0, length - x.shape[1])) for x, f in zip(parts, frames, strict=True)]
    )


def named(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Terms of a loss, the task's under the name that the official numbers have."""
    return {"cross-entropy" if name == "task" else name: term for name, term in terms.items()}


def stacked(by_modality: dict[str, Tensor]) -> Tensor:
    """By modality, (3, ...)."""
    return torch.stack([by_modality[m] for m in MODALITIES])


def mult(fixture: Fixture, case: str) -> Values:
    """Six cross-modal streams, and what goes into the head."""
    method, batch = build(MulT, fixture, case), fixture.batch(case)
    crossed: list[Tensor] = []
    hook = method.crossmodal.register_forward_hook(lambda module, inputs, found: crossed.extend(found))
    values = {"joint": method.represent(batch)}
    hook.remove()
    values["crossmodal"] = side_by_side(crossed, [batch.frames[target] for target in "llaavv"])
    values["cross_entropy"] = method.loss(batch)
    return values | gradients(fixture, method, values["cross_entropy"]) | {"logits": outputs(method, batch)}


def misa(fixture: Fixture, case: str) -> Values:
    """Shared and private vectors, and the four terms."""
    method, batch = build(MISA, fixture, case), fixture.batch(case)
    parts = method.split(batch)
    values = {"utterance": torch.stack(parts.utterance), "private": torch.stack(parts.private)}
    values["shared"] = torch.stack(parts.shared)
    both = zip(MODALITIES, parts.shared, parts.private, strict=True)
    values["reconstructed"] = torch.stack([method.decoders[m](s + p) for m, s, p in both])
    terms = method.terms(batch)
    values |= {"cross_entropy": terms.pop("task"), **terms}
    return values | gradients(fixture, method, method.loss(batch)) | {"logits": outputs(method, batch)}


def tfr_net(fixture: Fixture, case: str) -> Values:
    """What is extracted and generated, what the head sees, and the two terms."""
    method, batch = build(TFRNet, fixture, case), fixture.batch(case)
    logits = outputs(method, batch)  # first: every pass in training moves the running mean and variance
    extracted = method.extract(batch)
    values = {"extracted": side_by_side([extracted[m] for m in MODALITIES], [batch.frames[m] for m in MODALITIES])}
    for m in MODALITIES:
        values[f"generated_{m}"] = method.generators[m](extracted[m]) * batch.frames[m][..., None]
    values["pooled"] = method.represent(batch)
    in_training = method.predict(batch)
    weights, alone = method.reconstruction_weights, []
    for m in MODALITIES:
        method.reconstruction_weights = {other: float(other == m) for other in MODALITIES}
        alone.append(method.reconstruction_loss(extracted, batch))
    method.reconstruction_weights = weights
    terms = method.terms(batch)
    values |= {"reconstruction_by_modality": torch.stack(alone), "cross_entropy": terms["task"]}
    values["reconstruction"] = terms["reconstruction"]
    values |= gradients(fixture, method, method.loss(batch))
    return values | {"logits": torch.stack([logits, in_training])}


def self_mm(fixture: Fixture, case: str) -> Values:
    """Encodings, representations and answers of the four heads; terms at first visits and with labels that moved."""
    if case == "updates":
        return label_updates(fixture)
    method, batch = build(SelfMM, fixture, case), fixture.batch(case)
    encoded = method.encode(batch)
    values = {"logits": outputs(method, batch)}
    for h, x in encoded.items():
        values[f"encoding_{h}"] = x
        values[f"representation_{h}"], values[f"answer_{h}"] = method.heads[h](x)
    for state in ("first", "moved"):
        method.start_stage(method.stages[0], [batch])
        assert method.memory is not None
        if state == "moved":
            method.memory.seen += 1
            method.memory.labels |= {m: fixture.tensor(f"inputs/moved_labels/{m}")[:, None] for m in MODALITIES}
        terms = named(method.terms(batch))
        values[f"terms_{state}"], loss = fixture.terms(terms), torch.stack(list(terms.values())).sum()
        values |= {f"{key}_{state}": x for key, x in gradients(fixture, method, loss).items()}
    return values


def label_updates(fixture: Fixture) -> Values:
    """The labels that five epochs of three batches make from stored representations, and the centres at their end."""
    representations = {h: fixture.tensor(f"updates/representations/{h}") for h in "flav"}
    widths = {h: x.shape[-1] for h, x in representations.items()}
    ids, intensity = [str(i) for i in range(24)], fixture.tensor("updates/intensity")
    memory, values = LabelMemory(ids, intensity[:, None], widths, 3.0), {}
    for epoch, order in enumerate(fixture.tensor("updates/order")):
        for rows in order.split(8):
            memory.update(rows, {h: x[epoch][rows] for h, x in representations.items()})
        values |= {f"labels_{m}_{epoch}": memory.labels[m][:, 0].clone() for m in MODALITIES}
    return values | {f"centres_{h}": memory.centres(h) for h in widths}


def cubemlp(fixture: Fixture, case: str) -> Values:
    """The cube, before its blocks, between and after them."""
    method, batch = build(CubeMLP, fixture, case), fixture.batch(case)
    cube = method.cube(batch)
    values = {"cube": cube, "mixed_once": method.mix[0](cube), "mixed": method.mix(cube)}
    values |= {"represent": method.represent(batch), "logits": outputs(method, batch)}
    loss = method.loss(batch)
    return values | {"terms": fixture.terms({"loss": loss})} | gradients(fixture, method, loss)


def dmd(fixture: Fixture, case: str) -> Values:
    """Frames taken apart, what each classifier sees and says, edges of both graphs, and all terms by themselves."""
    method, batch = build(DMD, fixture, case), fixture.batch(case)
    parts = method.decouple(batch)
    joint_shared, private, _ = method.fuse(parts)
    pooled, real = method.pool(parts), batch.frames["l"]
    both = {m: torch.cat([parts.private[m], parts.shared[m]], -1) for m in MODALITIES}
    rebuilt = {m: method.decoders[m](both[m]) for m in MODALITIES}
    frames = {"convolved": parts.x, "shared": parts.shared, "private": parts.private, "rebuilt": rebuilt}
    values = {f"frames_{key}": stacked(x)[:, real] for key, x in frames.items()}
    spaces = {
        "shared": (method.shared_heads, dict(zip(MODALITIES, pooled, strict=True))),
        "private": (method.private_heads, private),
    }
    for key, (heads, x) in spaces.items():
        seen, logits = zip(*(heads[m](x[m]) for m in MODALITIES), strict=True)
        values[f"logits_{key}"] = torch.stack(logits)
        seen = [heads[m].hidden(x[m]) for m in MODALITIES] if key == "shared" else seen
        values[f"edges_{key}"] = getattr(method, f"{key}_graph").edges(values[f"logits_{key}"], torch.stack(seen))
        values[f"graph_{key}"] = getattr(method, f"{key}_graph")(
            values[f"logits_{key}"], torch.stack(seen), 10.0 if key == "private" else 0.0
        )
    values |= {"private_vectors": stacked(private), "logits": outputs(method, batch)}
    values["logits_joint_shared"] = method.joint_shared_head(joint_shared)[1]
    terms, loss = method.terms(batch), method.loss(batch)
    each = {
        "cross-entropies": terms["tasks"],
        "reconstruction": sum(F.mse_loss(rebuilt[m], parts.x[m]) for m in MODALITIES),
        "cycle": sum(F.mse_loss(method.private[m](rebuilt[m]), parts.private[m]) for m in MODALITIES),
        "orthogonality": sum(
            cosine(parts.shared[m][real], parts.private[m][real], dim=-1).relu().mean() for m in MODALITIES
        ),
        "margin": margin_loss(pooled, batch.labels, method.margin),
        "graph_shared": values.pop("graph_shared"),
        "graph_private": values.pop("graph_private"),
        "total": loss,
    }
    return values | {"terms": fixture.terms(each)} | gradients(fixture, method, loss)


def lnln(fixture: Fixture, case: str) -> Values:
    """Compressed modalities, completeness, proxy, what the discriminator says, reconstructions, and the four terms."""
    method, batch = LNLN(fixture.task(case), **fixture.about["hyperparameters"]).train(), fixture.batch(case)
    adopt(method, fixture.weights)
    compressed, complete = method.compress(batch.features), method.compress(batch.complete)
    corrected = method.correct(compressed)
    judged = method.discriminator(torch.cat([corrected.dominant, complete["l"]])).flatten(0, 1)
    values = {"compressed": stacked(compressed), "goals": stacked(complete), "judged": judged}
    values |= {"completeness": corrected.completeness, "proxy": corrected.proxy, "logits": outputs(method, batch)}
    values["reconstructed"] = stacked({m: method.reconstructors[m](compressed[m]) for m in MODALITIES})
    terms, loss = named(method.terms(batch)), method.loss(batch)
    norms, _ = fixture.gradients(as_stored(gradients_of(method, loss), fixture.parameters, fixture.weights))
    return values | {"terms": fixture.terms(terms), "gradient_norms": norms}


OURS: dict[str, Callable[[Fixture, str], Values]] = {
    "mult": mult,
    "misa": misa,
    "tfr_net": tfr_net,
    "self_mm": self_mm,
    "cubemlp": cubemlp,
    "dmd": dmd,
    "lnln": lnln,
}
"""By registered name."""
