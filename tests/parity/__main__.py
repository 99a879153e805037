"""``python -m tests.parity``: compare all methods with official code, and write what came of it."""

import torch

from benchmark.files.atomic import replace_file
from tests.parity.page import METHODS, PAGE, in_methods, page

torch.set_num_threads(1)
replace_file(PAGE, page().encode())
replace_file(METHODS, in_methods(METHODS.read_text(encoding="utf-8")).encode())
