"""
All writes to the records of calls. Each is keyword-only and safe to repeat.

Twilio's requests come late, repeated and out of order, and the facts of a live call come through a queue that may
replay them. Therefore a status moves by compare-and-set along the table of ``calls.status``, everything reported has an
id under which it is written once, and a write whose work is done already changes nothing. No write relies on
``select_for_update``, which SQLite ignores.

While the database is unavailable, each of them may raise Django's ``OperationalError`` or ``InterfaceError``: repeat it
later. A ``CallsError`` is about the request itself. The other packages may use what is imported here.
"""

from calls.call_context import about_call, current_call
from calls.echoes import PATTERN as ECHO_PATTERN
from calls.echoes import valid_echo_token
from calls.errors import CallsError, StorageUnavailableError
from calls.languages import LanguageReport, add_language_judge
from calls.plain_text import printable
from calls.services.admission import AgentSettings, StreamClaim, claim_stream, confirm_stream
from calls.services.agents import AgentVoice, active_agents, language_problems
from calls.services.bootstrap import ensure_demo_login
from calls.services.facts import Fact, record_fact
from calls.services.orders import Order, take_orders
from calls.services.pauses import hold_dialling, release_dialling
from calls.services.readiness import Refusal, add_readiness_check, add_readiness_details, add_refusal_check
from calls.services.records import find_call
from calls.services.slots import release_lease, renew_lease
from calls.services.upkeep import clean_up
from calls.signatures import valid_stream_signature
