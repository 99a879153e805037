"""Numbers that official code gave, and our methods beside them.

``numbers/<method>.npz`` holds weights under our parameter names, tiny inputs and masks, and what the official code of the
method gave for them; ``numbers/<method>.yaml`` says of which commit they are, what had to be changed to run it, and what
is compared. ``python -m tests.parity`` writes what came of it to ``docs/fidelity.md`` and ``docs/methods.md``.
"""
