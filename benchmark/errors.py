"""The one exception that a user sees."""


class BenchmarkError(Exception):
    """Unusable arguments, data or method.

    The message is one line that says what is wrong and how to mend it; the command line prints it without a
    traceback and exits with status 2.
    """


def one_line(text: str, length: int = 100) -> str:
    """What a file holds, as it may stand in a message: printable, on one line, and cut."""
    cut = text if len(text) <= length else text[: length - 1] + "…"
    return "".join(character if character.isprintable() else " " for character in cut)
