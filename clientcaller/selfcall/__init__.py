"""
A call from one of our numbers to itself, for ``manage.py selfcall``: the smoke test after a deployment.

It is in ``clientcaller``, because it needs Twilio's REST API of ``calls`` and the simulated callers of ``media``.
"""
