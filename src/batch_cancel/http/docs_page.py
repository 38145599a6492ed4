"""
The page that shows the OpenAPI document: a file, the same for every request.

Rule 1: nothing of a request is in the page; its script reads the document beside it.
Rule 2: only what is in the file runs: its script and its style are named by their hashes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files

import attrs


@attrs.frozen
class Page:
    """
    An answer other than one to a cancel.

    Arguments:
        headers: the headers, names in lower case.
        content: the body's bytes.
        status: the HTTP status.
    """

    headers: dict[str, str]
    content: bytes
    status: int = 200


def docs_page() -> Page:
    """Return the page."""
    content = _content()
    policy = (
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        f"script-src '{_hash(content, b'script')}'; style-src '{_hash(content, b'style')}'"
    )
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": policy}
    return Page(headers, content)


@cache
def _content() -> bytes:
    return files("batch_cancel.http").joinpath("docs.html").read_bytes()


def _hash(content: bytes, element: bytes) -> str:
    """Return the hash of the element's text, as a policy names it."""
    [text] = re.findall(b"<%b>(.*?)</%b>" % (element, element), content, re.DOTALL)
    return f"sha256-{b64encode(sha256(text).digest()).decode()}"
