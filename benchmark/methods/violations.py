"""How a check of the conformance suite ends where it does not pass."""


class Violation(Exception):
    """A method does not do what it must; the message is one line that says what and where."""


class NotApplicable(Exception):
    """A check that has no meaning for a method, such as over-fitting for one without parameters."""
