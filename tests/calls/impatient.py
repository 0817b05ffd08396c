"""For the workers of tests, which wait for seconds where in earnest they wait for a minute and more."""

from calls.services import dialling, reconciling

dialling.STALLED = 1.0
reconciling.ABANDONED_CLAIM = 2.0
reconciling.UNANSWERED_REQUEST = 2.0
reconciling.NEVER_ARRIVED = 12.0  # longer than any request lasts: only then has it surely not arrived
reconciling.SILENT = 0.0
