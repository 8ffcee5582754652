"""The one exception that a user can cause."""


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, an option, a label.

    The message says what was received, where (file, image, label id) and what to do about it. Scripts print it without
    a traceback and exit with code 2.
    """
