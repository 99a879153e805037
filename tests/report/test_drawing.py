import os
import signal
from threading import get_ident

import numpy as np
import pytest
from matplotlib.figure import Figure

from benchmark.errors import BenchmarkError
from benchmark.report.diagnostics import embed, representation_plots
from benchmark.report.drawing import Drawing
from benchmark.report.figures import to_files
from tests.report.pictures import FEW, MAKERS
from tests.report_frames import FIVE, make_representations


def test_drawn_in_processes_figures_are_the_same():
    drawn, names = [], ("intra", "training")
    for processes in (1, 2):
        with Drawing(processes) as drawing:
            for name in names:
                figure = MAKERS[name](FEW).figure
                drawing.draw(name, figure)
                assert processes > 1 or not figure.axes, "it holds on to its memory"
            drawn.append(drawing.files())
    assert drawn[0] == drawn[1] and set(drawn[0]) == set(names)
    assert drawn[0]["intra"]["png"][1:4] == b"PNG" and drawn[0]["intra"]["pdf"].startswith(b"%PDF")


def test_a_killed_process_is_told_in_one_line():
    with Drawing(2) as drawing, pytest.raises(BenchmarkError, match="was killed, perhaps for want of memory"):
        drawing.draw("x", _Deadly())
        try:
            drawing.files()
        finally:
            with pytest.raises(BenchmarkError, match="was killed"):
                drawing.draw("y", Figure())


@pytest.mark.parametrize("processes", [1, 2])
def test_what_takes_long_is_computed_elsewhere_and_is_the_same(processes):
    one, two = make_representations(FIVE[:2], 4)
    with Drawing(processes) as drawing:
        places = [drawing.compute(embed, r.values) for r in (one, two)]
        process, thread = drawing.compute(os.getpid), drawing.compute(get_ident)
        for r, own in zip((one, two), places, strict=True):
            np.testing.assert_array_equal(own(), embed(r.values))
        assert (process() == os.getpid()) == (processes == 1) and thread() != get_ident()
        known = representation_plots([one], places=lambda r: places[0]())
        assert to_files(known.figure) == to_files(representation_plots([one]).figure)
        failing = drawing.compute(embed, one.values[:0])
        with pytest.raises(ValueError):
            failing()
        if processes > 1:
            deadly = drawing.compute(signal.raise_signal, signal.SIGKILL)
            with pytest.raises(BenchmarkError, match="was killed, perhaps for want of memory"):
                [deadly(), drawing.compute(embed, one.values)()]


class _Deadly(Figure):
    """Kills the process that unpacks it."""

    def __reduce__(self):
        return signal.raise_signal, (signal.SIGKILL,)
