"""The command line: arguments → the functions of :mod:`benchmark.api`."""

from __future__ import annotations

import argparse
import gc
import math
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from benchmark._version import __version__
from benchmark.errors import BenchmarkError
from benchmark.files.streams import ReaderGone, lenient_streams
from benchmark.running.arithmetic import asked_for_by, have_this_process

if TYPE_CHECKING:
    from benchmark.methods.registry import Entry

EPILOG = """examples:
  PROGRAM --grid quick                          eight methods on simulated MOSI, three seeds
  PROGRAM --grid full --plan                    how many cells, how long
  PROGRAM --grid quick --tasks mosi --data DIR  on your own copy of MOSI
  PROGRAM --grid quick --plugin mine.py         your method in every table
  PROGRAM --check mine --plugin mine.py         does it keep the rules?
  PROGRAM --grid full --shard 1/20 --out OUT    one of twenty parts, for a job array
  PROGRAM --grid quick --report-only            tables and figures again, from what is stored
  PROGRAM --verify OUT --recompute 3            are these numbers true? three cells are trained again
  PROGRAM --leaderboard OUT1 OUT2               one page of the rows of several runs

exit status: 0 all cells done; 1 some failed (the report is written), or a check did; 2 unusable arguments or data
"""

TAKES: dict[str, tuple[str, ...]] = {  # options that go with what there is to do; with a run, and --plan, all others
    "inspect": ("tasks",),
    "list": ("plugin", "tasks", "verbose"),
    "check": ("plugin",),
    "verify": ("recompute", "plugin", "tasks", "data", "jobs"),
    "leaderboard": ("out",),
    "report_only": ("grid", "plugin", "out", "against", "methods", "metrics", "table", "highlight"),
}
CHOOSE = ("tasks", "seeds", "set", "data", "portable")  # with --grid, which definitions of its rows a report shows


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchmarkError(f"{message} (--help lists the options)")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As always, but options that would do nothing are an error."""
        options = super().parse_args(args, namespace)
        given = [name for name, value in vars(options).items() if value != self.get_default(name)]
        for action, takes in TAKES.items():
            if action == "report_only" and options.grid:
                takes += CHOOSE
            if action in given and (vain := [name for name in given if name not in (action, *takes)]):
                action, *vain = (f"--{name.replace('_', '-')}" for name in (action, *vain))
                self.error(f"{action} makes no use of {' and '.join(vain)}; leave one or the other out")
        return options


def _at_least_one(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return value


def _at_least_one_or_auto(text: str) -> int | str:
    return text if text == "auto" else _at_least_one(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return value


def _hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of hours above 0")
    return value


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name is empty; write . for this folder")
    return Path(text)


def parser() -> argparse.ArgumentParser:
    """Of all options, with their help."""
    parser = _Parser(
        prog=program(),
        description="CorrKD and its baselines under missing modalities: train, test in every setting, report.",
        epilog=EPILOG.replace("PROGRAM", program() if program() != "run_benchmark.py" else f"python {program()}"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to do")
    what.add_argument(
        "--grid", metavar="NAME|FILE.yaml", help="run what is not done yet of a grid, then write the report"
    )
    what.add_argument("--plan", action="store_true", help="only say which cells there are and how long they will take")
    what.add_argument(
        "--report-only", nargs="*", type=_folder, metavar="DIR",
        help="only write tables and figures from what is stored in these folders, or else in that of --grid or --out; "
        "with --grid, rows are shown as it and --set define them",
    )  # fmt: skip
    what.add_argument("--list", action="store_true", help="list methods, tasks and grids, your methods with --plugin")
    what.add_argument("--verbose", action="store_true", help="with --list: what each method is tuned over, and why")
    what.add_argument("--check", metavar="METHOD|all", help="the conformance suite on a method, yours with --plugin")
    what.add_argument(
        "--inspect", metavar="FILE|DIR", type=Path, help="what data files hold, their faults, and the tasks they fit"
    )
    what.add_argument(
        "--verify", metavar="DIR", type=_folder, help="are the numbers stored there what they say they are?"
    )
    what.add_argument(
        "--recompute", nargs="?", const=0, type=_at_least_one, metavar="N",
        help="with --verify: compute N cells again, or all of them, and compare their outputs",
    )  # fmt: skip
    what.add_argument(
        "--leaderboard", nargs="+", type=_folder, metavar="DIR",
        help="write a page of the rows of these output folders to --out FILE.html (default: results/leaderboard.html)",
    )  # fmt: skip
    what.add_argument("--version", action="version", version=f"corrkd-benchmark {__version__}")
    which = parser.add_argument_group("which part of the grid (default: as the grid says)")
    which.add_argument(
        "--methods", nargs="+", metavar="METHOD",
        help="methods or groups of them, also with +mrm or -mrm behind: mult+mrm; with --report-only, the rows to show",
    )  # fmt: skip
    which.add_argument(
        "--tasks", nargs="+", metavar="TASK|FILE.yaml",
        help="tasks by name (--list has them), or task files of your own",
    )  # fmt: skip
    which.add_argument("--seeds", type=_at_least_one, metavar="N", help="how many: 0, 1, ..., N-1")
    which.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="METHOD.KEY=VALUE",
        help="hyper-parameters, such as mult.layers=3; training.KEY=VALUE is for all methods",
    )  # fmt: skip
    which.add_argument(
        "--tune", type=_at_least_one, metavar="K",
        help="tune every method with the default and K random configurations, chosen by validation (docs/tuning.md)",
    )  # fmt: skip
    which.add_argument(
        "--tune-hours", type=_hours, metavar="H",
        help="with --tune: at most K, as many as an equal share of H hours allows; depends on the machine",
    )  # fmt: skip
    which.add_argument(
        "--plugin", nargs="+", action="extend", default=[], type=Path, metavar="FILE.py", help="further methods"
    )
    where = parser.add_argument_group("where and how")
    where.add_argument("--data", type=_folder, metavar="DIR", help="folder with data files (default: simulated data)")
    where.add_argument("--out", type=_folder, metavar="DIR", help="where results go (default: results/<grid>)")
    where.add_argument(
        "--against", metavar="METHOD", help="the row that the others are tested against (default: as the grid says)"
    )
    where.add_argument(
        "--metrics", nargs="+", metavar="METRIC", default=[],
        help="a table of each of these, such as mae or auroc (default: one table of those that the task lists)",
    )  # fmt: skip
    where.add_argument(
        "--table", nargs="+", action="append", metavar=("NAME", "KEY=VALUE"), default=[],
        help="a table for a paper, such as: main columns=l,a,v,Avg. decimals=1 (docs/paper-tables.md)",
    )  # fmt: skip
    where.add_argument(
        "--highlight", nargs="+", metavar="METHOD", default=[],
        help="in figures, these in colour and all others grey (default: the reference and the two best others)",
    )  # fmt: skip
    where.add_argument(
        "--jobs", type=_at_least_one, metavar="N",
        help="worker processes (default: the cores that this process may use); not with dask, whose workers all work",
    )  # fmt: skip
    where.add_argument(
        "--backend", choices=["loky", "dask"], default="loky", help="processes here (the default), or a Dask cluster"
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS",
        help="of the Dask cluster, such as tcp://host:8786, whose workers were started with --nthreads 1",
    )  # fmt: skip
    where.add_argument(
        "--cell-timeout", type=_seconds, metavar="SECONDS",
        help="a cell that takes longer has failed (default: no limit)",
    )  # fmt: skip
    where.add_argument(
        "--together", type=_at_least_one_or_auto, metavar="N|auto", default=1,
        help="train N cells at once that differ in seed, learning rate and the like alone (default: 1; auto: 32 on a "
        "GPU, up to 8 on a CPU where that is faster)",
    )  # fmt: skip
    where.add_argument(
        "--shard", metavar="I/N",
        help="compute only the I-th of N parts, into which cells are divided by their keys; each may run anywhere",
    )  # fmt: skip
    where.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto",
        help="where to compute (default: auto, a GPU where there is one)",
    )  # fmt: skip
    where.add_argument(
        "--portable", action=argparse.BooleanOptionalAction,
        help="arithmetic that gives the same bits on every x86-64 processor, but is slower (default: as the grid says)",
    )  # fmt: skip
    where.add_argument("--fresh", action="store_true", help="compute done cells again; old ones go to OUT/replaced")
    return parser


def program() -> str:
    """How the command was called, for help and for "How to get it again"."""
    name = Path(sys.argv[0]).name
    return name if name.startswith("corrkd-bench") else "run_benchmark.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    os.environ["MPLBACKEND"] = "agg"  # nothing is shown, and a notebook's backend, handed on, may not be there
    try:
        with lenient_streams() as out:
            status = _status(arguments)
            out.flush()
            if out.fault is not None:
                reason = os.strerror(out.fault.errno or 0)
                print(
                    f"warning: standard output could not be written to ({reason}); some lines are lost", file=sys.stderr
                )
            return status
    except ReaderGone:
        return 141


def _status(arguments: list[str]) -> int:
    try:
        return _main(parser().parse_args(arguments), arguments)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stopped:
        print("stopped; what is done is stored, and the same command goes on from there", file=sys.stderr)
        return getattr(stopped, "code", 130)
    except (BrokenPipeError, ConnectionError) as error:
        print(
            f"error: a process that this one works with is gone ({error}), perhaps for want of memory; what is done is "
            "stored: give the same command again, or with --jobs 1",
            file=sys.stderr,
        )
        return 2


@contextmanager
def _quick_imports() -> Iterator[None]:
    """What is imported lasts and is never searched for garbage, then or later: that takes a fifth of the start."""
    if "torch" in sys.modules:  # a process that is someone else's
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.freeze()


def _main(options: argparse.Namespace, arguments: list[str]) -> int:
    try:
        os.getcwd()  # noqa: PTH109
    except OSError as error:
        raise BenchmarkError("the folder that this is run in was removed; change to another one") from error
    if options.backend == "dask" and options.scheduler is None:
        raise BenchmarkError("--backend dask needs the cluster's address; give --scheduler tcp://host:8786")
    if options.scheduler is not None and options.backend != "dask":
        raise BenchmarkError("--scheduler is for a Dask cluster; give --backend dask too, or leave it out")
    if options.inspect:
        from benchmark.data.inspection import inspect_file
        from benchmark.data.task import find_task

        text, fits = inspect_file(options.inspect, tasks=[find_task(task) for task in options.tasks or ()])
        print(text)
        return 0 if fits else 1
    if options.list:
        from benchmark.methods.registry import catalogue

        entries = catalogue(options.plugin, on_fault=lambda fault: print(f"warning: {fault}"))
        _list(entries, options.tasks or (), verbose=options.verbose)
        return 0
    if options.verbose:
        raise BenchmarkError("--verbose goes with --list")

    reports = options.report_only is not None
    portable = asked_for_by(options.grid) if options.portable is None else options.portable
    if portable or reports or options.verify:  # statistics are, whatever the cells were computed in
        have_this_process()

    with _quick_imports():
        from benchmark import api
        from benchmark.running.grid_file import parse_overrides
        from benchmark.running.paper import parse_tables

    if options.check:
        return 0 if api.examine(options.check, plugins=options.plugin, say=_say) else 1
    if options.recompute is not None and not options.verify:
        raise BenchmarkError("--recompute goes with --verify DIR")
    if options.verify:
        from benchmark.report.verify import verify

        given = {name: getattr(options, name) for name in ("data", "recompute", "jobs")}
        verdict = verify(options.verify, tasks=options.tasks or (), plugins=options.plugin, **given, say=_say)
        _say(str(verdict))
        return 0 if verdict.sound else 1
    if options.leaderboard:
        from benchmark.report.leaderboard import leaderboard

        return 1 if leaderboard(*options.leaderboard, out=options.out, say=_say).left_out else 0
    if options.grid is None and not (reports and (options.out or options.report_only)):
        raise BenchmarkError("nothing to do; give for instance --grid quick (see --help, and --list for the grids)")
    chosen = {
        "methods": options.methods,
        "tasks": options.tasks,
        "seeds": options.seeds,
        "plugins": options.plugin,
        "data": options.data,
        "out": options.out,
        "against": options.against,
        "metrics": options.metrics,
        "tables": parse_tables(options.table) or None,
        "highlight": options.highlight,
        "set": parse_overrides(options.set),
        "portable": options.portable,
    }
    if reports:
        results = api.report(*options.report_only, grid=options.grid, **chosen)
        return 1 if results.failures else 0
    hows = ("jobs", "device", "backend", "scheduler", "fresh", "shard", "together")
    how = {name: getattr(options, name) for name in hows}
    tune = {"configurations": options.tune, "hours": options.tune_hours}
    how["tune"] = {name: value for name, value in tune.items() if value is not None} or None
    if options.plan:
        print(api.plan(options.grid, **chosen, **how))
        return 0
    command = shlex.join([*([] if program() == "corrkd-bench" else ["python"]), program(), *arguments])
    results = api.run(
        options.grid,
        **chosen,
        **how,
        cell_timeout=options.cell_timeout,
        command=command,
    )
    return 1 if results.failed else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _list(entries: dict[str, Entry], tasks: Sequence[str], *, verbose: bool = False) -> None:
    import yaml

    from benchmark.data.task import find_task, known_tasks
    from benchmark.methods.labels import groups
    from benchmark.names import GRIDS
    from benchmark.running.grid_file import grid_names

    *firsts, last = [entry.name for entry in entries.values() if not entry.augmentable]
    unchanged = f"{', '.join(firsts)} and {last}" if firsts else last
    print(f"methods (each but {unchanged} also with the suffix +mrm or -mrm, for training the other way):")
    for entry in entries.values():
        brought = f" (from {entry.package})" if entry.package else ""
        print(f"  {entry.name:<12} {entry.paper}; trains on {entry.trains_on} samples{brought}")
        for line in _tuned_over(entry) if verbose else ():
            print(f"  {'':<12} {line}")
    print("groups of methods:")
    for name, members in groups(entries).items():
        print(f"  {name:<12} {'every method' if name == 'all' else ' '.join(members)}")
    print("tasks:")
    known = known_tasks()
    for task in [*known.values(), *(own for own in map(find_task, tasks) if own.name not in known)]:
        print(f"  {task.name:<15} {task.title}: {task.description or task.target.kind}")
        for what, said in (("cite", task.citation), ("licence", task.licence)):
            if said:
                print(f"  {'':<15} {what}: {said}")
    print("grids:")
    for name in grid_names():
        print(f"  {name:<12} {yaml.safe_load((GRIDS / f'{name}.yaml').read_text(encoding='utf-8'))['description']}")


def _tuned_over(entry: Entry) -> list[str]:
    from benchmark.methods import load
    from benchmark.methods.search import tuned_over

    alone = load(entry).search_space is None
    lines = ["no search space of its own; tuned over the training settings alone:"] if alone else []
    return [*lines, *(f"{key}: {told}" for key, told in tuned_over(entry).items())] or ["nothing to tune"]
