#!/usr/bin/env python
"""Django's command line for Client Caller."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clientcaller.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        if "--traceback" in sys.argv:
            raise
        # The error is a sentence for the operator, who has no use for the lines of Python above it.
        sys.exit(f"Wrong settings: {error}")
