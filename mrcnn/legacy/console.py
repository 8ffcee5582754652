"""Show this package's log on standard output where nobody has set up logging: the original printed there."""

import logging
import sys

LOGGER = "mrcnn"


def show_log() -> None:
    """Write what `mrcnn` logs, from level INFO, to standard output, unless logging is set up; only the first call acts.

    As soon as logging is set up after all (logging.basicConfig, or a handler of "mrcnn"), that alone decides.
    """
    logger = logging.getLogger(LOGGER)
    if logger.handlers or logger.root.handlers or logger.level != logging.NOTSET:
        return
    logger.addHandler(_Console())
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a handler that the root gets later must not see what its level would keep from it


class _Console(logging.Handler):
    """Writes to the standard output of the moment; gives way to any other handler."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message, or, if logging has been set up, remove all that `show_log` did and log again."""
        logger = logging.getLogger(LOGGER)
        others = [handler for handler in logger.handlers if handler is not self]
        if not others and not logger.root.handlers:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
            return
        logger.handlers = others  # a new list: the present one is being walked through
        logger.propagate = True
        if logger.level == logging.INFO:
            logger.setLevel(logging.NOTSET)
        source = logging.getLogger(record.name)
        if not others and source.isEnabledFor(record.levelno):
            source.handle(record)
