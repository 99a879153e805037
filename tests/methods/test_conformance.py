"""Every registered method passes every check, and for every check there is an offender that it catches."""

import re
from functools import cache

import pytest
import torch
from safetensors.torch import load

import run_benchmark
from benchmark import methods
from benchmark.data.simulator import simulate
from benchmark.data.task import known_tasks
from benchmark.methods.conformance import CHECKS, Harness, NotApplicable, Subject, Violation, _equal, examine
from benchmark.methods.weights import packed_weights, unpack_weights
from benchmark.running.evaluation import predict_settings
from benchmark.running.training import train
from tests.smaller import DEPTHS, SMALLER

ENTRIES = methods.catalogue()
HARNESS = Harness(train, predict_settings)


class Smaller(Subject):
    """A method in a size that is soon examined, on short clips.

    Of a method in its defaults, on clips as long as a task's, there is the contract; a breach of any other rule is there
    at every size.
    """

    def build(self, dataset, seed=0, **changes):
        return super().build(dataset, seed, **(SMALLER.get(self.entry.name, {}) | changes))

    def dataset(self, task):
        return short(task)


class Deeper(Smaller):
    """Each part twice over, for a gradient may reach the last of them alone."""

    def build(self, dataset, seed=0, **changes):
        depths = dict.fromkeys(DEPTHS & SMALLER.get(self.entry.name, {}).keys(), 2)
        return super().build(dataset, seed, **(depths | changes))


@cache
def short(name):
    """A tiny task whose clips have six words, ten at most, instead of eleven and twenty."""
    task = known_tasks()[name]
    clips = task.simulator.model_copy(update={"words": [6, 10]})
    return simulate(task.model_copy(update={"simulator": clips}), (48, 16, 32))


SUBJECTS = {name: Smaller(entry, HARNESS) for name, entry in ENTRIES.items()}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", sorted(ENTRIES))
def test_every_method_conforms(name, check):
    own = {"contract": Subject, "gradients": Deeper}.get(check)
    subject = own(ENTRIES[name], HARNESS) if own else SUBJECTS[name]
    try:
        CHECKS[check](subject)
    except NotApplicable as reason:
        assert name in ("constant", "linear", "random"), reason  # they have nothing to train


GOOD = '''
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from benchmark import MODALITIES, Choice, Method, register
from benchmark.parts.dropout import Dropout
from benchmark.parts.pooling import masked_mean

@register("suspect", paper="none", trains_on="missing")
class Suspect(Method):
    """Early fusion."""
    search_space = {"hidden": Choice(32, 64)}
    def __init__(self, task, *, hidden: int = 64):
        super().__init__(task)
        self.first = nn.Linear(sum(task.feature_dims.values()), hidden)
        self.last = nn.Linear(hidden, task.num_categories)
        self.dropout = Dropout(0.1)
    def pooled(self, batch):
        return torch.cat([masked_mean(batch.features[m], batch.present[m]) for m in MODALITIES], 1)
    def predict(self, batch):
        return self.last(self.dropout(self.first(self.pooled(batch)).relu()))
    def loss(self, batch):
        return F.cross_entropy(self.predict(batch), batch.labels)
'''

LOSS = "    def loss(self, batch):\n        return F.cross_entropy(self.predict(batch), batch.labels)\n"
TERMS = (
    "    def terms(self, batch):\n"
    "        return {'first': F.cross_entropy(self.predict(batch), batch.labels), 'second': SECOND}\n"
)
TELLS = "    def mechanism(self, batch):\n        one = torch.ones(())\n        return {TOLD}\n"

OFFENDERS = {
    "contract": [
("hidden, task.num_categories)", "hidden, 3)", r"predict returned logits of shape \(5, 3\); .* \(5, 2\).*, in stage 'training', task mosi$"),
        ("F.cross_entropy(self.predict(batch), batch.labels)", "self.predict(batch)", r"loss\(batch\) is a tensor of shape \(5, 2\); it must be a scalar tensor"),
        ("batch.labels)", "batch.labels).detach()", r"loss\(batch\) has no gradient: .* in stage"),
        ("    def loss", "    def represent(self, batch):\n        return self.pooled(batch)[0]\n    def loss", r"represent returned float32 of shape \(409,\)"),
        ("F.cross_entropy(self.predict(batch), batch.labels)", "1.0", r"loss\(batch\) is a float; it must be a scalar tensor"),
        ("(hidden, task.", "(hidden + 1, task.", r"^RuntimeError: .* \(at suspect\.py:\d+\), task mosi$"),
        ("        return self.last(", "        if not self.training:\n            return [1.0]\n        return self.last(", "predict returned a list; .* in stage"),
        ("        return self.last(", "        if not self.training:\n            return self.last(self.first(self.pooled(batch))).long()\n"
         "        return self.last(", r"predict returned logits of type int64; .*float32"),
        ("    def loss", "    def represent(self, batch):\n        return self.pooled(batch)[:3]\n    def loss", r"represent returned float32 of shape \(3, 409\)"),
        ("    def loss", "    def represent(self, batch):\n        return self.pooled(batch).log()\n    def loss", "represent gave NaN or infinity in stage"),
    ],
    "any setting": [
        (
            "masked_mean(batch.features[m], batch.present[m])",
            "batch.features[m].sum(1) / batch.present[m].sum(1, keepdim=True)",
            "NaN or infinity in setting|loss became nan",
        ),
        (
            "masked_mean(batch.features[m], batch.present[m])",
            "batch.features[m].sum(1) / batch.frames[m].sum(1, keepdim=True)",
            "for a sample without a single real frame, task mosi",
        ),
        (
            "        return self.last(",
            "        if not self.training:\n            seen = sum(batch.present[m].sum(1) for m in MODALITIES)\n            return self.last(self.first(self.pooled(batch))) / seen[:, None]\n"
            "        return self.last(",
            r"^logits hold NaN or infinity in setting \w+@1\.0, sample \S+ \(.*no present frame of .*\), task mosi$",
        ),
    ],
    "finite loss": [("batch.labels)", "batch.labels) / (len(batch) - 2)", "loss is inf in stage 'training'.*2 samples"),
        ("batch.labels)", "batch.labels) + (0 * self.last.bias).sum().sqrt()", "gradient of last.bias is not finite in stage"),
    ],
    "gradients": [
        ("self.dropout = ", "self.idle = nn.Linear(2, 3)\n        self.dropout = ", "no gradient reaches idle"),
        ("        return self.last(", "        return self.last(0 * ", "no gradient reaches first.bias, first.weight, last.weight"),
    ],
    "over-fits": [
        (".relu()", ".relu() * 0", r"\d+ of 32 training samples are right, task mosi$"),
        (".relu())", ".relu() * (0 if self.task.kind == 'intensity' else 1))",
         r"in 300 steps in stage 'training', the error of 32 training samples stays at \d+% of their median's, task mosi_intensity$"),
    ],
    "deterministic": [
        ("batch.labels)", "batch.labels) * np.random.rand()", "two trainings with one seed give different"),
        ("self.dropout(", "F.dropout(", "predicting a batch twice gives different logits"),
    ],
    "batch independence": [
        ("        return self.last(", "        return self.mixed(batch)\n    def mixed(self, batch):\n        x = self.pooled(batch)\n"
         "        return self.last(self.first(x - x.mean(0)).relu())\n    def unused(self, batch):\n        return self.last(",
         r"batch size 1 and 16 do not agree \("),
        ("masked_mean(batch.features[m], batch.present[m])",
         "masked_mean(batch.features[m], batch.present[m]) + 0.1 * batch.features[m].shape[1] * (~batch.frames[m].any(1))[:, None]",
         "batch size 1 and 16 do not agree where samples lack every frame of some modalities"),
    ],
    "labels": [
        ("        return self.last(", "        return batch.labels[:, None] + self.last(", "predict looks at the labels"),
        ("        return self.last(",
         "        return (0.0 if batch.intensity is None else batch.intensity.nan_to_num()[:, None]) + self.last(",
         "predict looks at the labels"),
        ("        return self.last(",
         "        seen = batch.intensity.nan_to_num()[:, None] if self.task.kind == 'intensity' else 0.0\n        return seen * torch.arange(self.last.out_features) + self.last(",
         "predict looks at the labels .*, task mosi_intensity$"),
    ],
    "masked frames": [
        ("batch.features[m], batch.present[m])", "(batch.complete or batch.features)[m], batch.frames[m])",
         "predict looks at missing frames"),
    ],
    "inputs untouched": [
        ("        return torch.cat", "        batch.features['l'].mul_(0.5)\n        return torch.cat", r"predict changes features\['l'\]"),
        ("        return F.cross", "        batch.labels.zero_()\n        return F.cross", "loss in stage 'training' changes the labels"),
        ("        return F.cross", "        if batch.intensity is not None:\n            batch.intensity.zero_()\n        return F.cross",
         "loss in stage 'training' changes the labels"),
    ],
    "hyper-parameters": [
        ("hidden: int = 64", "hidden: int = 64, weight: float = 1.0", "no other value of the hyper-parameter weight changes anything; use it, or say in the card when"),
        ("        super().__init__(task)\n", "        super().__init__(task)\n        hidden = 64\n", "the hyper-parameter hidden changes anything"),
    ],
    "mechanism": [
        (LOSS, TERMS.replace("SECOND", "0 * self.last.bias.sum()"), "^no parameter has a gradient of second, a term of the loss;"),
        (LOSS, TERMS.replace("SECOND", "self.last.bias.sum().detach()"), "^no parameter has a gradient of second"),
        ("    def loss", TELLS.replace("TOLD", "'guess': (one * 2, one)") + "    def loss",
         r"^the mechanism never acts: in 150 steps on 16 training samples, guess never came below 2\.00 times what doing nothing gives$"),
        ("    def loss", TELLS.replace("TOLD", "'guess': (one / 0, one)") + "    def loss", "tells inf and 1.0 of guess; both must be finite"),
    ],
    "search space": [
        ('Choice(32, 64)}\n    def __init__(self, task, *, hidden: int = 64):\n',
         "Choice(63, 64)}\n    def __init__(self, task, *, hidden: int = 64):\n        if hidden % 2:\n            raise ValueError('odd')\n",
         r"the search space holds {'hidden': 63, .* cannot be built \(ValueError: odd\); .*, task mosi$"),
    ],
}  # fmt: skip
SAVED = (
    "    def pooled(",
    "    def start_stage(self, stage, training_set):\n        self.offset = 1.0 + float(sum(len(b) for b in training_set))\n"
    "    def pooled(",
)


def suspect(tmp_path, *changes):
    text = GOOD
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "suspect.py"
    path.write_text(text)
    return methods.catalogue([path.resolve()])["suspect"]


def test_every_check_has_an_offender():
    assert OFFENDERS.keys() | {"saved state"} == CHECKS.keys()


ONE_OUTPUT = (
    ("hidden, task.num_categories)", "hidden, task.num_outputs)"),
    ("F.cross_entropy(self.predict(batch), batch.labels)", "self.task_loss(self.predict(batch), batch)"),
)


@pytest.mark.parametrize("changes", [(), ONE_OUTPUT])
def test_the_offenders_base_is_innocent(tmp_path, changes):
    """Whether it gives logits of an intensity's bins, or one number."""
    assert {(r.state, r.reason) for r in examine(suspect(tmp_path, *changes), HARNESS)} == {("passed", "")}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ONE_OUTPUT[:1], r"^IndexError: Target \d is out of bounds.* \(at suspect\.py:\d+\), task mosi_intensity$"),
        (
            [*ONE_OUTPUT, ("self.pooled(batch)).relu()))", "self.pooled(batch)).relu())).squeeze(1)")],
            r"of shape \(5,\); predict must return intensities of shape \(N, 1\).* task mosi_intensity$",
        ),
    ],
)
def test_what_fails_on_one_kind_of_task_says_on_which(tmp_path, change, message):
    (result,) = examine(suspect(tmp_path, *change), HARNESS, {"contract": CHECKS["contract"]})
    assert result.state == "failed" and re.search(message, result.reason), result.reason


@pytest.mark.parametrize(
    ("check", "number"),
    [(check, i) for check, cases in OFFENDERS.items() for i in range(len(cases))],
)
def test_the_offender_is_caught(tmp_path, check, number):
    old, new, message = OFFENDERS[check][number]
    (result,) = examine(suspect(tmp_path, (old, new)), HARNESS, {check: CHECKS[check]})
    assert result.state == "failed" and "\n" not in result.reason and "Violation" not in result.reason
    assert re.search(message, result.reason), result.reason


def test_a_card_may_say_when_a_hyperparameter_is_idle(tmp_path):
    entry = suspect(tmp_path, OFFENDERS["hyper-parameters"][0][:2])
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "suspect.yaml").write_text("hyperparameters:\n  weight: {idle: always}\n")
    (result,) = examine(entry, HARNESS, {"hyper-parameters": CHECKS["hyper-parameters"]})
    assert (result.state, result.reason) == ("passed", "")


def test_a_mechanism_that_acts_when_it_has_learnt_passes_and_parts_that_do_not_are_told(tmp_path):
    of_loss = "'loss': (F.cross_entropy(self.predict(batch), batch.labels), 0.5 * one)"
    for told, remark in (
        (of_loss, ""),
        (
            of_loss + ", 'guess': (one * 2, one), 'bet': (one, 0 * one)",
            "bet and guess never better than doing nothing here",
        ),
    ):
        entry = suspect(tmp_path, ("    def loss", TELLS.replace("TOLD", told) + "    def loss"))
        (result,) = examine(entry, HARNESS, {"mechanism": CHECKS["mechanism"]})
        assert (result.state, result.reason) == ("passed", remark)


def test_a_term_that_counts_from_the_third_visit_on_is_none_without_a_gradient(tmp_path):
    late = TERMS.replace("SECOND", "self.last.bias.square().sum() * (self.visits > 2)")
    visits = "        self.visits = getattr(self, 'visits', 0) + 1\n        return {'first'"
    entry = suspect(tmp_path, (LOSS, late.replace("        return {'first'", visits)))
    (result,) = examine(entry, HARNESS, {"mechanism": CHECKS["mechanism"]})
    assert (result.state, result.reason) == ("passed", "")


def test_state_outside_parameters_and_buffers_is_caught(tmp_path):
    change = (".relu()))", ".relu())) * getattr(self, 'offset', 1.0)")
    (result,) = examine(suspect(tmp_path, SAVED, change), HARNESS, {"saved state": CHECKS["saved state"]})
    assert result.state == "failed" and "parameters or buffers" in result.reason


def test_state_that_cannot_be_stored_is_caught(tmp_path):
    extra = "    def get_extra_state(self):\n        return {}\n    def set_extra_state(self, state):\n        pass\n    def pooled("
    (result,) = examine(suspect(tmp_path, ("    def pooled(", extra)), HARNESS, {"saved state": CHECKS["saved state"]})
    assert result.state == "failed" and "AttributeError" in result.reason


def test_tied_weights_are_stored(tmp_path):
    twice = "self.second = nn.Linear(hidden, hidden)\n        self.third = nn.Linear(hidden, hidden)\n"
    tied = twice + "        self.third.weight = self.second.weight\n        self.dropout = "
    use = "self.third(self.second(self.first(self.pooled(batch)).relu()).relu())"
    entry = suspect(tmp_path, ("self.dropout = ", tied), ("self.first(self.pooled(batch)).relu()", use))
    (result,) = examine(entry, HARNESS, {"saved state": CHECKS["saved state"]})
    assert (result.state, result.reason) == ("passed", "")
    method = Subject(entry, HARNESS).build(Subject(entry, HARNESS).dataset("mosi"))
    content = packed_weights(method)
    assert {"second.weight", "third.weight"} <= load(content).keys()
    unpack_weights(method, content)
    assert method.third.weight is method.second.weight


def test_what_is_no_matter_of_a_check_is_left_to_the_others(tmp_path):
    idle, represent = (
        OFFENDERS["gradients"][0][:2],
        "    def represent(self, batch):\n        return self.pooled(batch)\n    def loss",
    )
    entry = suspect(tmp_path, idle, ("    def loss", represent))
    assert [result.reason for result in examine(entry, HARNESS) if result.state == "failed"] == [
        "no gradient reaches idle.bias, idle.weight, task mosi"
    ]


def test_what_does_not_apply_to_a_method_with_nothing_to_train():
    states = {result.check: result.state for result in examine(methods.catalogue()["constant"], HARNESS)}
    skipped = {check for check, state in states.items() if state == "not applicable"}
    assert skipped == {"gradients", "over-fits", "hyper-parameters", "mechanism", "search space"} and set(
        states.values()
    ) == {
        "passed",
        "not applicable",
    }


def test_logits_that_are_only_alike_when_repeated_differ():
    with pytest.raises(Violation, match=r"message \(logits differ by up to nan\)"):
        _equal(torch.zeros(1, 2), torch.zeros(3, 2), "message")


def test_checks_run_on_one_thread(tmp_path):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(examine(suspect(tmp_path), HARNESS, {}))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_the_command_line(tmp_path, capsys):
    assert run_benchmark.main(["--check", "constant"]) == 0
    out = capsys.readouterr().out
    assert "passed" in out and "not applicable" in out and "failed" not in out
    entry = suspect(tmp_path, (".relu()", ".relu() * 0"))
    assert run_benchmark.main(["--check", "suspect", "--plugin", str(entry.path)]) == 1
    assert "failed          over-fits" in capsys.readouterr().out
    assert run_benchmark.main(["--check", "mutl"]) == 2
    assert "did you mean mult" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("import numpy as np\n", "import numpy as np\nimport absent\n"), "importing .* failed: .*'absent'"),
        (("def predict(", "def guess("), "Suspect lacks predict"),
    ],
)
def test_a_method_that_cannot_be_imported_is_told_in_one_line(tmp_path, capsys, change, message):
    entry = suspect(tmp_path, change)
    for name in ("suspect", "all"):
        assert run_benchmark.main(["--check", name, "--plugin", str(entry.path)]) == 2
        captured = capsys.readouterr()
        assert re.match(f"error: method 'suspect': .*{message}", captured.err) and captured.err.count("\n") == 1
        assert not captured.out
