"""Requests whose text is UTF-8, whatever their headers say, and can be stored by every database."""

import re
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import parse_cookie
from django.utils.functional import cached_property
from django.utils.http import parse_header_parameters

_VISIBLE = re.compile(r"[\x20-\x7e]*")
"""What a cookie has (RFC 6265). Django also reads octal escapes, such as ``\\000``, which PostgreSQL refuses."""

LONGEST_TYPE = 500
"""Characters of a content type. It is read on the loop that carries the calls, and 60,000 take a tenth of a second."""


class PlainRequest(ASGIRequest):
    """
    A request of whose headers nothing can fail.

    Django decodes a query and a form by the ``charset`` of the content type: codecs that decode nothing raise errors,
    others make lone surrogates, which no database stores. Here all is UTF-8, which every client sends. A content type
    that cannot be read counts as none, and a cookie that nobody has set as no cookie.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        if len(meta.get("CONTENT_TYPE", "")) > LONGEST_TYPE:
            meta["CONTENT_TYPE"] = ""
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (ValueError, LookupError):
            # REST framework reads it again.
            meta["CONTENT_TYPE"] = ""
            self.content_type, self.content_params = "", {}

    @cached_property
    def COOKIES(self) -> dict[str, str]:  # type: ignore[override]  # the stubs have an attribute
        cookies = parse_cookie(self.META.get("HTTP_COOKIE", ""))
        return {name: value for name, value in cookies.items() if _VISIBLE.fullmatch(value)}

    def let_go(self) -> None:
        """
        Forget everything, when the answer is made.

        Middleware adds functions to the request that refer to it, so all of it would be left to the garbage collector,
        which stops the calls while it runs.
        """
        self.__dict__.clear()
