"""All checks in the order in which they run: that of the modules here, and within a module that of their functions."""

from clientcaller.doctor import (
    account,
    agents,
    clock,
    configuration,
    engines,
    media_path,
    processes,
    public,
    stores,
)
from clientcaller.doctor.registry import CHECKS as CHECKS

MODULES = (configuration, stores, agents, processes, clock, engines, public, media_path, account)

# The modules may have been imported in another order.
_places = {module.__name__: place for place, module in enumerate(MODULES)}
_ordered = sorted(CHECKS.items(), key=lambda entry: _places.get(entry[1].look.__module__, len(MODULES)))
CHECKS.clear()
CHECKS.update(_ordered)
