"""The admin, in which the operator works with agents, calls and everything around them."""

from calls.admin import calls as calls
