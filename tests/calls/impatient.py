"""Shorter waits for the workers of tests: seconds instead of minutes. Workers load it with ``--include``."""

from calls.services import dialling, reconciling

dialling.STALLED = 1.0
reconciling.ABANDONED_CLAIM = 2.0
reconciling.UNANSWERED_REQUEST = 2.0
reconciling.NEVER_ARRIVED = 12.0  # longer than any request takes, after which it certainly has not arrived
reconciling.SILENT = 0.0
