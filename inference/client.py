"""The former place of the remote engines. A ``BACKEND`` that names it still works, for one release, with a warning."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from inference.engines import remote

logger = logging.getLogger(__name__)


def __getattr__(name: str) -> Any:
    if name not in remote.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"BACKEND {__name__}.{name} has moved to {remote.__name__}.{name}; the next release drops the old path"
    # Python shows a DeprecationWarning to developers only; the operator who has to change the setting reads the log.
    logger.warning(message)
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return getattr(remote, name)
