"""
Runs the delivery of webhooks in a thread of its own in each worker process.

A task of Celery only wakes it. So receivers that do not answer occupy no thread of the worker, which dials calls.
"""

import logging
import threading

from django.db import connections

from calls.services.webhook_delivery import DATABASE_FAULTS, Deliverer

logger = logging.getLogger(__name__)


class Sender:
    """One thread that sends what is due. It ends when nothing is, and the process waits for it when it ends."""

    def __init__(self, deliverer: Deliverer | None = None) -> None:
        self._deliverer = deliverer or Deliverer()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_wanted = False
        """Whether a delivery may have become due since the last run began."""
        self._is_stopping = False

    def wake(self) -> None:
        """Have the deliveries sent that are due. Returns at once."""
        with self._lock:
            if self._is_stopping:
                return
            self._is_wanted = True
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="webhooks")
                thread.start()  # it raises if the process may have no more threads; the next wake-up tries again
                self._thread = thread
        self._deliverer.look_again()

    def stop(self) -> None:
        """Begin no more deliveries. Those that have begun end within their time limit. It takes no lock."""
        self._is_stopping = True
        self._deliverer.stop()

    def join(self) -> None:
        """Wait until nothing is being sent."""
        if (thread := self._thread) is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                if self._is_stopping or not self._is_wanted:
                    self._thread = None
                    return
                self._is_wanted = False
            try:
                self._deliverer.run()
            except DATABASE_FAULTS as error:
                reason = str(error).strip().partition("\n")[0]
                logger.warning("Postponed webhooks: the database is unavailable: %s", reason)
            except Exception:
                logger.exception("The delivery of webhooks failed; the next wake-up begins it anew")
            finally:
                connections.close_all()


sender = Sender()
"""That of this process."""
