"""What the failure of one object among many means: that object is left out, and counted."""

import logging

__all__ = ["failure"]

logger = logging.getLogger(__name__)


def failure(error: Exception) -> str:
    """Return the reason under which an object is left out that an exception stopped.

    Parameters
    ----------
    error : Exception
        What was raised; at ``-v 3`` its traceback is shown.

    Raises
    ------
    OSError, MemoryError
        The machine failed (a disk, a network, memory), not the object.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        raise error
    logger.debug("An object is left out", exc_info=error)
    return f"failed ({type(error).__name__})"
