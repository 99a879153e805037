"""Time the methods against plain references, in turns; write a table and a plot.

``python -m tests.speed --out results/reference/speed [--mmsa PYTHON] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import pandas as pd
import torch

from benchmark.methods.registry import catalogue
from benchmark.methods.sources import source_digest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

MMSA_WIDTHS = '{"rnn_hidden": 300}'
"""MISA's LSTMs as wide as MMSA's."""


def ours(name: str, *arguments: str) -> list[str]:
    """The command of a contender of this project."""
    return [sys.executable, "-m", "tests.speed.contender", name, *arguments]


def groups(methods: list[str], mmsa: str | None) -> list[tuple[str, dict[str, list[str]]]]:
    """What is timed together: the method first, then what it is compared with."""
    found = []
    for method in methods:
        contenders = {"ours": ours(method)}
        if method in ("mult", "corrkd"):
            contenders["plain"] = ours(f"plain_{method}")
        if mmsa and method in ("mult", "misa", "tfr_net"):
            theirs = [mmsa, str(HERE / "mmsa.py"), method, "--variant"]
            if method == "misa":
                contenders = {"ours": ours(method, "--set", MMSA_WIDTHS)}
            contenders |= {"MMSA": [*theirs, "fair"], "MMSA as is": [*theirs, "as is"]}
        found.append((method, contenders))
    return found


class Process:
    """A contender under way."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a contender ended: {' '.join(self.process.args)}")  # type: ignore[arg-type]
        return json.loads(line)

    def ask(self, command: str) -> dict[str, Any]:
        """Its answer, when it is done."""
        assert self.process.stdin is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """Let it end."""
        self.process.communicate()


def matmul_rate() -> float:
    """Operations a second of matrix products in the shapes of these networks, on one core: the geometric mean."""
    torch.set_num_threads(1)
    rates = []
    for batch, m, k, n in ((6, 1600, 30, 120), (6, 1600, 120, 30), (3, 1600, 60, 240), (1, 1600, 300, 128)):
        x, y = torch.randn(batch, m, k), torch.randn(batch, k, n)
        best = min(_seconds(lambda x=x, y=y: torch.bmm(x, y)) for _ in range(30))
        rates.append(2 * batch * m * k * n / best)
    return statistics.geometric_mean(rates)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(method: str, contenders: dict[str, list[str]], rounds: int) -> list[dict[str, Any]]:
    """Epochs of all contenders in turns; one epoch each before that does not count."""
    processes = {label: Process(command) for label, command in contenders.items()}
    times: dict[str, list[float]] = {label: [] for label in processes}
    memory: dict[str, float] = {}
    rates = []
    for turn in range(rounds + 1):
        for label, process in processes.items():
            answer = process.ask("train")
            memory[label] = answer["mib"]
            if turn:
                times[label].append(answer["seconds"])
        rates.append(matmul_rate())
    operations = processes["ours"].ask("operations")["result"]
    for process in processes.values():
        process.close()
    first = statistics.median(times["ours"])
    return [
        {
            "method": method,
            "who": label,
            "seconds": statistics.median(seconds),
            "least": min(seconds),
            "most": max(seconds),
            "ours / this": first / statistics.median(seconds),
            "peak MiB": memory[label],
            "Gop an epoch": operations / 1e9 if label == "ours" else float("nan"),
            "share of matmul rate": operations / statistics.median(rates) / first if label == "ours" else float("nan"),
        }
        for label, seconds in times.items()
    ]


def evaluation(method: str, rounds: int) -> dict[str, Any]:
    """All settings together against one setting after another, in turns, on samples of varied length."""
    process = Process(ours(method, "--lengths", "varied"))
    times: dict[str, list[float]] = {"together": [], "apart": []}
    for turn in range(rounds + 1):
        for way, seconds in times.items():
            answer = process.ask(way)
            if turn:
                seconds.append(answer["seconds"])
    process.close()
    together, apart = (statistics.median(times[way]) for way in ("together", "apart"))
    return {
        "method": method,
        "together": together,
        "apart": apart,
        "together / apart": together / apart,
        "peak MiB": answer["mib"],
    }


STARTS = {
    "python -c pass": ["-c", "pass"],
    "run_benchmark.py --help": ["run_benchmark.py", "--help"],
    "run_benchmark.py --list": ["run_benchmark.py", "--list"],
}
"""What answers at once, beside Python alone."""


def starts(rounds: int) -> list[dict[str, Any]]:
    """Seconds from the call to the end of each of `STARTS`, in turns; the first round, which fills caches, does not count."""
    times: dict[str, list[float]] = {name: [] for name in STARTS}
    for turn in range(rounds + 1):
        for name, arguments in STARTS.items():
            command = [sys.executable, *arguments]
            seconds = _seconds(
                lambda command=command: subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
            )
            if turn:
                times[name].append(seconds)
    return [
        {"command": name, "seconds": statistics.median(own), "least": min(own), "most": max(own)}
        for name, own in times.items()
    ]


def workers(out: Path, rounds: int) -> dict[str, float]:
    """Wall time of the same eight cells with one worker and with two, in turns: medians."""
    times: dict[str, list[float]] = {"1": [], "2": []}
    for _ in range(rounds):
        for jobs, seconds in times.items():
            with tempfile.TemporaryDirectory(dir=out) as folder:
                command = [sys.executable, "run_benchmark.py", "--grid", "quick", "--methods", "corrkd", "--seeds", "8"]
                command += ["--jobs", jobs, "--out", folder]
                subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
                cells = [json.loads(file.read_text()) for file in Path(folder).glob("cells/*/cell.json")]
                begun, ended = ([pd.Timestamp(cell[end]) for cell in cells] for end in ("started", "finished"))
                assert len(cells) == 8
                seconds.append((max(ended) - min(begun)).total_seconds())
    middle = {jobs: statistics.median(seconds) for jobs, seconds in times.items()}
    ratios = [one / two for one, two in zip(times["1"], times["2"], strict=True)]
    return middle | {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}


def earlier(out: Path, facts: dict[str, Any], code: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """Rows of the measurement that lies in the folder, without methods whose code has changed; `facts` take its own.

    Raises
    ------
    SystemExit
        If it is of another machine, of other versions or of another number of rounds.
    """
    before = json.loads((out / "facts.json").read_text()) if (out / "facts.json").exists() else {}
    for name in before.keys() & {"machine", "python", "torch", "rounds"}:
        if before[name] != facts[name]:
            raise SystemExit(f"{out} is of {name} {before[name]}, and this of {facts[name]}; give another --out")
    facts |= before
    still = {method for method, digest in before.get("code", {}).items() if code.get(method) == digest}
    files = {name: out / f"{name}.csv" for name in ("training", "evaluation", "start")}
    found = {name: pd.read_csv(path).to_dict("records") if path.exists() else [] for name, path in files.items()}
    return {name: [row for row in rows if row.get("method") in {*still, None}] for name, rows in found.items()}


def plot(training: pd.DataFrame, path: Path) -> None:
    """Seconds an epoch, a bar a contender."""
    figure, axes = plt.subplots(figsize=(7, 0.35 * len(training) + 1.2), layout="constrained")
    colours = {"ours": "#1f77b4", "plain": "#bbbbbb", "MMSA": "#ff7f0e", "MMSA as is": "#ffbb78"}
    rows = training.iloc[::-1]
    axes.barh(range(len(rows)), rows["seconds"], color=[colours[who] for who in rows["who"]])
    spread = [rows["seconds"] - rows["least"], rows["most"] - rows["seconds"]]
    axes.errorbar(rows["seconds"], range(len(rows)), xerr=spread, fmt="none", ecolor="#333333", capsize=2)
    axes.set_yticks(range(len(rows)), [f"{m}, {w}" for m, w in zip(rows["method"], rows["who"], strict=True)])
    axes.set_ylim(-0.6, len(rows) - 0.4)  # no empty rows above and below
    axes.set_xlabel("seconds an epoch, one core, MOSI-sized random data (median, least, most)")
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed")
    parser.add_argument("--mmsa", help="the Python of an environment in which MMSA is installed")
    parser.add_argument("--methods", nargs="+", default=sorted(catalogue()))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-workers", action="store_true", help="do not compare one worker with two")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    code = {name: source_digest(entry) for name, entry in catalogue().items()}
    facts: dict[str, Any] = {
        "machine": _processor(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "rounds": arguments.rounds,
        "matmul_rate_gflops": round(matmul_rate() / 1e9, 1),
        "minutes": 0.0,
        "workers": None,
    }
    found = earlier(arguments.out, facts, code)
    begun, minutes = time.time(), facts["minutes"]
    found["start"] = found["start"] or starts(5)
    if not (facts["workers"] or arguments.skip_workers):
        facts["workers"] = workers(arguments.out, arguments.rounds)

    def keep() -> None:
        """What there is so far: a measurement of hours that is stopped goes on from there."""
        frames = {name: pd.DataFrame(rows) for name, rows in found.items()}
        for name, frame in frames.items():
            frame.to_csv(arguments.out / f"{name}.csv", index=False, float_format="%.4g")
        plot(frames["training"], arguments.out / "training.png")
        facts["minutes"] = round(minutes + (time.time() - begun) / 60, 1)
        facts["code"] = {row["method"]: code[row["method"]] for row in found["evaluation"]}
        (arguments.out / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
        (arguments.out / "speed.md").write_text(report(**frames, facts=facts))

    for method, contenders in groups(arguments.methods, arguments.mmsa):
        if contenders.keys() <= {row["who"] for row in found["training"] if row["method"] == method}:
            continue
        for name in ("training", "evaluation"):
            found[name] = [row for row in found[name] if row["method"] != method]
        found["training"] += measure(method, contenders, arguments.rounds)
        print(pd.DataFrame(found["training"][-len(contenders) :]).round(3).to_string(index=False), flush=True)
        found["evaluation"].append(evaluation(method, max(1, arguments.rounds - 1)))
        print(pd.DataFrame(found["evaluation"][-1:]).round(3).to_string(index=False), flush=True)
        for rows in (found["training"], found["evaluation"]):
            rows.sort(key=lambda row: row["method"])
        keep()
    print((arguments.out / "speed.md").read_text())


def markdown(frame: pd.DataFrame) -> str:
    """A table; numbers with three digits, nothing where there is none."""
    rows = [frame.columns, ["---"] * len(frame.columns)]
    for row in frame.itertuples(index=False):
        rows.append([value if isinstance(value, str) else _number(value) for value in row])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _number(value: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            return f"{line.split(':')[1].strip()}, {os.cpu_count()} cores"
    return platform.processor() or "unknown"


def report(training: pd.DataFrame, evaluation: pd.DataFrame, start: pd.DataFrame, facts: dict[str, Any]) -> str:
    """The tables as Markdown."""
    lines = [
        "# Speed",
        "",
        f"{facts['machine']}; Python {facts['python']}, torch {facts['torch']}. One thread a process, contenders in",
        f"turns, medians of {facts['rounds']} rounds after one that does not count. See tests/speed/README.md.",
        "",
        "## Training, an epoch (1,284 samples of 50 frames, 300/74/35 features, batches of 32)",
        "",
        markdown(training),
        "",
        "## Evaluation, all settings of the full grid (686 samples of 1 to 50 frames)",
        "",
        markdown(evaluation),
        "",
        "## Start",
        "",
        markdown(start),
        "",
    ]
    if facts["workers"]:
        pair = facts["workers"]
        lines += [
            f"Eight cells of CorrKD: {pair['1']:.0f} s with one worker, {pair['2']:.0f} s with two "
            f"({pair['ratio']:.2f} times the cells an hour; {pair['least']:.2f} to {pair['most']:.2f} by round).",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
