"""The one exception that a user sees."""


class BenchmarkError(Exception):
    """Unusable arguments, data or method.

    The message is one line that says what is wrong and how to mend it; the command line prints it without a
    traceback and exits with status 2.
    """
