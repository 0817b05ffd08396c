"""All checks: this module imports those that have some, in the order in which their checks run."""

# The order is that of a report, so that it is not sorted.
from clientcaller.doctor import configuration  # noqa: F401, I001
from clientcaller.doctor import stores  # noqa: F401
from clientcaller.doctor import agents  # noqa: F401
from clientcaller.doctor import processes  # noqa: F401
from clientcaller.doctor import clock  # noqa: F401
from clientcaller.doctor import engines  # noqa: F401
from clientcaller.doctor import public  # noqa: F401
from clientcaller.doctor import media_path  # noqa: F401
from clientcaller.doctor import account  # noqa: F401
from clientcaller.doctor.registry import CHECKS as CHECKS
