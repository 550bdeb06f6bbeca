"""The error class for users' mistakes."""


class UserError(ValueError):
    """Wrong input: a flag, a file, a dataset.

    The message says what was expected, what arrived and what to do; the command line shows it
    without a traceback. Any other exception is a bug, and keeps its traceback.
    """
