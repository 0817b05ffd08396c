"""
Checks of a deployment from inside, for ``manage.py doctor``.

They are in ``clientcaller``, because they look at everything: the settings, the records of ``calls``, the media socket
of ``media`` and the engines of ``inference``. No other package may import all of these.
"""
