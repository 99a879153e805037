"""Our methods give what the official code gave, and a small change in any of them is noticed."""

import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch

from baselines.mult import MulT
from tests.parity import methods
from tests.parity.fixtures import NAMES, Fixture, compare
from tests.parity.methods import OURS

ROOT = Path(__file__).resolve().parents[2]
every_method = pytest.mark.parametrize("name", NAMES)


def differing(name, dtype=torch.float64):
    return [found for found in compare(name, OURS[name], dtype=dtype) if not found.equal]


def test_every_fixture_is_compared():
    assert sorted(OURS) == NAMES and len(NAMES) == 7


@every_method
def test_equal_to_the_official_code(name):
    assert differing(name) == []


@every_method
def test_equal_in_single_precision(name):
    found = differing(name, torch.float32)
    assert [each for each in found if name != "cubemlp" or "gradient" not in each.quantity] == []


@every_method
def test_all_that_is_stored_is_compared(name):
    """Logits, intermediates, terms and gradients, in every case."""
    fixture = Fixture(name)
    found = compare(name, OURS[name])
    assert {each.case for each in found} == set(fixture.cases)
    quantities = {each.quantity for each in found}
    assert "logits" in quantities and len(quantities) >= 5
    assert any("gradient_norms" in each for each in quantities)
    for variant, held in fixture.about["held_to"].items():
        stored = {quantity for case in fixture.cases for quantity in fixture.expected(variant, case)}
        assert held == "all" or set(held) <= stored


FAULTS = {
    "mult": [
        ("baselines/mult.py", "causal_offset=[0] * len(MODALITIES)", "causal_offset=None"),
        ("baselines/mult.py", "joint + self.residual(joint)", "self.residual(joint)"),
        ("benchmark/parts/transformer.py", "stacked * self.scale", "stacked"),
        ("benchmark/parts/transformer.py", "abs(max_frames[target] - max_frames[source])", "0"),
        ("benchmark/parts/transformer.py", "h = self.norm(h, group)", "h = normalise(h)"),
        ("benchmark/parts/attention.py", "size**-0.5", "d**-0.5"),
        ("benchmark/parts/streams.py", "F.layer_norm(x, x.shape[-1:])", "F.layer_norm(x, x.shape[-1:], eps=1e-6)"),
    ],
    "misa": [
        ("baselines/misa.py", "x.detach().norm(dim=1, keepdim=True)", "x.norm(dim=1, keepdim=True)"),
        ("baselines/misa.py", "x = x - x.mean(0)", "x = x"),
        ("baselines/misa.py", "self.norm(packed.data)", "packed.data"),
        ("baselines/misa.py", "[*parts.private, *parts.shared]", "[*parts.shared, *parts.private]"),
        ("baselines/misa.py", "self.moments) for s, t", "self.moments - 1) for s, t"),
        ("baselines/misa.py", "torch.stack(terms).sum()", "torch.stack(terms).mean()"),
        ("benchmark/parts/losses.py", "range(2, moments + 1)", "range(2, moments)"),
    ],
    "tfr_net": [
        ("baselines/tfrnet.py", "context.tanh() * ", "context * "),
        ("baselines/tfrnet.py", "nn.LeakyReLU()", "nn.ReLU()"),
        ("baselines/tfrnet.py", "F.smooth_l1_loss", "F.mse_loss"),
        ("baselines/tfrnet.py", "& ~batch.present[m]", ""),
        ("baselines/tfrnet.py", "self.gate(context).sigmoid()", "self.gate(context.tanh()).sigmoid()"),
        ("benchmark/parts/recurrent.py", "to_n = (1 - z) * (1 - n * n)", "to_n = (1 - z) * (1 - n)"),
    ],
    "self_mm": [
        ("baselines/selfmm.py", "moved.tanh()", "moved"),
        ("baselines/selfmm.py", "2.0 / (self.seen[old] + 2.0)", "2.0 / (self.seen[old] + 3.0)"),
        ("baselines/selfmm.py", "labels >= 0", "labels > 0"),
        ("baselines/selfmm.py", "generated.clamp(-self.bound, self.bound)", "generated"),
        ("baselines/selfmm.py", "0.5 * y_m * alpha_s / (alpha_m + _EPSILON) + 0.5 *", "1.0 *"),
        ("baselines/selfmm.py", "x[:, None, :] - centres).norm(dim=-1)", "x[:, None, :] - centres).square().sum(-1)"),
        ("baselines/selfmm.py", "frames.sum(1).clamp(min=1)", "(0 * frames.sum(1) + frames.shape[1])"),
    ],
    "cubemlp": [
        ("baselines/cubemlp.py", "forwards + backwards", "0.5 * (forwards + backwards)"),
        ("baselines/cubemlp.py", "nn.LayerNorm(size_in, eps=1e-6)", "nn.LayerNorm(size_in)"),
        ("baselines/cubemlp.py", "self.residual(x) + self.mlp(x)", "x + self.mlp(x) if self.residual.weight.shape[0] == x.shape[-1] else self.residual(x) + self.mlp(x)"),
        ("baselines/cubemlp.py", "nn.GELU()", "nn.GELU(approximate='tanh')"),
        ("baselines/cubemlp.py", ".mean(SEQUENCE).flatten(1)", ".amax(SEQUENCE).flatten(1)"),
        ("baselines/cubemlp.py", "eps=1e-6)\n\n    def forward(self, x: Tensor, frames", "eps=1e-5)\n\n    def forward(self, x: Tensor, frames"),
    ],
    "dmd": [
        ("baselines/dmd.py", ".sigmoid() for m in MODALITIES]", " for m in MODALITIES]"),
        ("baselines/dmd.py", "x = x + self.block(x)", "x = self.block(x)"),
        ("baselines/dmd.py", "weights = edges + self.prior[:, None]", "weights = edges"),
        ("baselines/dmd.py", "squeeze(-1) / 8", "squeeze(-1)"),
        ("baselines/dmd.py", "(again - private)", "(again - private.detach())"),
        ("baselines/dmd.py", "logits[self.sources].detach()", "logits[self.sources]"),
        ("baselines/dmd.py", 'self.input_dropout(features["l"])', '0.99 * features["l"]'),
    ],
    "lnln": [
        ("baselines/lnln.py", "share * language +", "language +"),
        ("baselines/lnln.py", "else reverse_gradient(proxy)", "else proxy"),
        ("baselines/lnln.py", "_mend(compressed[\"l\"], proxy, w), proxy", "_mend(compressed[\"l\"], proxy, w.detach()), proxy"),
        ("baselines/lnln.py", "hyper = layer(state, others, hyper)", "hyper = layer(states[-1], others, hyper)"),
        ("baselines/lnln.py", "nn.LeakyReLU(0.1), nn.Linear(d // 2, 2)", "nn.ReLU(), nn.Linear(d // 2, 2)"),
        ("baselines/lnln.py", "nn.GELU()", "nn.ReLU()"),
        ("baselines/lnln.py", "x[:, 1:].mean(1)", "x.mean(1)"),
        ("baselines/lnln.py", "self.norm_hyper(hyper) +", "hyper +"),
        ("baselines/lnln.py", "self.norm_query(queries)", "queries"),
    ],
}  # fmt: skip
"""Small changes of the code, by method: file, text, and what stands there instead."""


def plant(monkeypatch, name, file, old, new):
    """The changed file in place of the real one, and with it the method's class in the comparison."""
    method = f"baselines/{name.replace('_', '')}.py"
    for path in dict.fromkeys((file, method)):
        text = (ROOT / path).read_text(encoding="utf-8")
        if path == file:
            assert old in text, f"{path} has no {old!r} any more; write the fault anew"
            text = text.replace(old, new)
        place = path.removesuffix(".py").replace("/", ".")
        module = ModuleType(place)
        monkeypatch.setitem(sys.modules, place, module)
        text = re.sub(r"^@register\(.*\)\n", "", text, flags=re.M)  # the real one stays registered
        exec(compile(text, path, "exec"), module.__dict__)
        if file.startswith("benchmark") and path == file:
            package_of_parts(monkeypatch, module)
    for attribute in dir(methods):
        if attribute in vars(module) and getattr(getattr(methods, attribute), "__module__", "") == place:
            monkeypatch.setattr(methods, attribute, vars(module)[attribute])


def package_of_parts(monkeypatch, changed):
    """Other parts that use the changed one use it in its new form."""
    for other in list(sys.modules):
        if other.startswith("benchmark.parts.") and other != changed.__name__:
            for key, value in list(vars(sys.modules[other]).items()):
                if getattr(value, "__module__", "") == changed.__name__ and key in vars(changed):
                    monkeypatch.setattr(sys.modules[other], key, vars(changed)[key])


@pytest.mark.parametrize(
    ("name", "file", "old", "new"), [(name, *fault) for name, faults in FAULTS.items() for fault in faults]
)
def test_a_small_change_is_noticed(monkeypatch, name, file, old, new):
    import_module("benchmark.parts")
    plant(monkeypatch, name, file, old, new)
    assert differing(name) != []


def test_planting_nothing_changes_nothing(monkeypatch):
    """What the faults are planted with does not itself make the difference."""
    plant(monkeypatch, "mult", "benchmark/parts/attention.py", "size**-0.5", "size**-0.5")
    assert methods.MulT is not MulT
    assert differing("mult") == []
