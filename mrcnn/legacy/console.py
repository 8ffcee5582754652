"""Show this package's log on standard output where nobody has set up logging: the original printed there."""

import logging
import sys

LOGGER = "mrcnn"
SHOWN = logging.INFO - 1  # shows what INFO shows, and can be told from a level that somebody else has set


def show_log() -> None:
    """Write what `mrcnn` logs, from level INFO, to standard output, unless logging is set up; only the first call acts.

    As soon as logging is set up after all (logging.basicConfig, or a handler of "mrcnn"), that alone decides.
    """
    logger = logging.getLogger(LOGGER)
    if logger.handlers or logger.root.handlers or logger.level != logging.NOTSET:
        return
    logger.addHandler(_Console())
    logger.setLevel(SHOWN)
    logger.propagate = False  # handlers that the root gets later would be given what its level keeps from them


class _Console(logging.Handler):
    """Writes to the standard output of the moment; hands over to any other handler."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message; if logging has been set up, undo the level and do what propagation would."""
        logger = logging.getLogger(LOGGER)
        if logger.handlers == [self] and not logger.root.handlers:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
            return
        if logger.level == SHOWN:
            logger.setLevel(logging.NOTSET)
        if logger.root.handlers and logging.getLogger(record.name).isEnabledFor(record.levelno):
            logger.root.callHandlers(record)
