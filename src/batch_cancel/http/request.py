"""
What an HTTP request asks for, and how it is refused, as pure functions.

Rule 1: a request is checked in this order: path, method, key, right, size, Idempotency-Key, body.
        Only then is the job read, so that an unauthorized client learns nothing about it.
Rule 2: an ambiguous request is refused: a header given twice, a body of another type, an unknown
        field, a name given twice in an object.
Rule 3: a job's id is the text between the two fixed parts of the path, slashes included. For bytes
        that are not UTF-8 there is no job.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from batch_cancel.domain.job import TEXT_BYTES_MAX, is_storable
from batch_cancel.http.api_keys import Principal
from batch_cancel.http.response import Response

BODY_BYTES_MAX: Final = 32_768
"""The longest body that is read: the longest reason, with every character escaped."""

REASON_CHARACTERS_MAX: Final = TEXT_BYTES_MAX // 4
"""The longest reason: a character has four bytes of UTF-8 at most, so it can be stored."""

OPERATION_ID_PATTERN: Final = r"[!-+\--~]{1,255}"
"""An Idempotency-Key: visible ASCII without a comma, which joins headers given twice."""

_BEARER: Final = re.compile("bearer +([!-~]{1,4096})", re.IGNORECASE)
_JOBS: Final = "/batch/jobs/"
_CANCEL: Final = "/cancel"


class Refusal(Enum):
    """A refusal by the rules of HTTP, which the contract leaves open; nothing was changed."""

    NO_KEY = 401, "Missing or wrong API key", "The API key is missing or wrong."
    NO_RIGHT = 403, "Not allowed to cancel batch jobs", "The key's role may not cancel."
    NO_PAGE = 404, "Not Found", "There is nothing at this path."
    NO_METHOD = 405, "Method Not Allowed", "Another method was used; `Allow` names the right one."
    TOO_SLOW = 408, "Request not complete in time", "The request took too long to arrive."
    NO_LENGTH = (
        411,
        "Content-Length required",
        "A body in chunks was empty, or the server can't read such bodies.",
    )
    TOO_LARGE = 413, f"Body over {BODY_BYTES_MAX} bytes", "The body is too large."
    NO_JSON = 415, "The body must be application/json", "The body is of another type."
    BAD_BODY = (
        422,
        f'The body must be {{"reason": "..."}}, 1 to {REASON_CHARACTERS_MAX} characters',
        "The body or the Idempotency-Key is not as described.",
    )
    BROKEN_BODY = (
        422,
        "The body broke off, or its chunks are malformed",
        "The body or the Idempotency-Key is not as described.",
    )
    BAD_OPERATION_ID = (
        422,
        "Idempotency-Key must be 1 to 255 visible ASCII characters without a comma",
        "The body or the Idempotency-Key is not as described.",
    )

    def __init__(self, status: int, detail: str, when: str) -> None:
        self.status = status
        self.detail = detail
        self.when = when

    def response(self, **headers: str) -> Response:
        """Return the answer of this refusal."""
        own = {"www-authenticate": "Bearer"} if self is Refusal.NO_KEY else {}
        headers = {"content-type": "application/json"} | own | headers
        return Response(self.status, headers, {"detail": self.detail})


class Refused(Exception):
    """
    The request is refused.

    Arguments:
        refusal: why.
        headers: further headers of the answer.
    """

    def __init__(self, refusal: Refusal, **headers: str) -> None:
        super().__init__(refusal.detail)
        self.response: Response = refusal.response(**headers)


@attrs.frozen
class Request:
    """
    A request, without its body.

    Arguments:
        method: in capitals.
        path: below `base`, percent-decoded; bytes that are not UTF-8 as lone surrogates.
        headers: by name in lower case; the values of a name given twice are joined by a comma.
        base: the path that the application is mounted at.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)  # One of them contains the key.
    base: str = ""


def text_of(path: bytes) -> str:
    """Decode the bytes of a path that is percent-decoded already."""
    return path.decode("utf-8", "surrogateescape")


def decoded(path: bytes) -> str:
    """Decode a path as it was sent."""
    return text_of(unquote_to_bytes(path))


def joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by their name in lower case."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(value)
    return {name: ",".join(several) for name, several in values.items()}


def path_below(prefix: str, request: Request) -> str:
    """
    Return the path below a prefix.

    Raises:
        Refused: the path is not below it.
    """
    if not request.path.startswith(prefix):
        raise Refused(Refusal.NO_PAGE)
    return request.path.removeprefix(prefix)


def job_asked(path: str, method: str) -> str:
    """
    Return the id of the job to cancel.

    Raises:
        Refused: the request does not ask to cancel a job.
    """
    is_cancel = path.startswith(_JOBS) and path.endswith(_CANCEL)
    if not is_cancel or len(path) < len(_JOBS) + len(_CANCEL):
        raise Refused(Refusal.NO_PAGE)
    if method != "POST":
        raise Refused(Refusal.NO_METHOD, allow="POST")
    return path[len(_JOBS) : -len(_CANCEL)]


def job_routed(batch_job_id: str, request: Request) -> str:
    """
    Return the id of the job that a framework has found in a path.

    Frameworks replace bytes that are not UTF-8, so that two paths name one job. Such a path has
    the empty id, which no job has.
    """
    try:
        request.path.encode()
    except UnicodeEncodeError:
        return ""
    return batch_job_id


def key_of(request: Request) -> str:
    """
    Return the API key.

    Raises:
        Refused: it is missing or malformed.
    """
    found = _BEARER.fullmatch(request.headers.get("authorization", ""))
    if found is None:
        raise Refused(Refusal.NO_KEY)
    return found[1]


def admitted(principal: Principal | None) -> Principal:
    """
    Return the principal from `authenticate`, if they may cancel.

    Raises:
        Refused: the key is unknown, or its role may not cancel.
        TypeError: `authenticate` returned something else.
    """
    if principal is None:
        raise Refused(Refusal.NO_KEY)
    if not isinstance(principal, Principal):  # pyright: ignore[reportUnnecessaryIsInstance]
        msg = f"authenticate must return a Principal or None, not {type(principal).__name__}"
        raise TypeError(msg)
    if principal.may_cancel is not True:
        raise Refused(Refusal.NO_RIGHT)
    return principal


def bytes_declared(request: Request) -> int | None:
    """
    Return the length of the body; None if it is not declared.

    Raises:
        Refused: the declared length is malformed or too large.
    """
    declared = request.headers.get("content-length")
    if not declared:  # WSGI does not distinguish an empty header from none.
        return None
    if not (declared.isascii() and declared.isdecimal()):
        raise Refused(Refusal.NO_LENGTH)
    if len(declared) > len(str(BODY_BYTES_MAX)) or int(declared) > BODY_BYTES_MAX:
        raise Refused(Refusal.TOO_LARGE)
    return int(declared)


def operation_id_of(request: Request) -> str | None:
    """
    Return the Idempotency-Key.

    Raises:
        Refused: it is not a valid operation id.
    """
    key = request.headers.get("idempotency-key")
    if key is not None and not re.fullmatch(OPERATION_ID_PATTERN, key):
        raise Refused(Refusal.BAD_OPERATION_ID)
    return key


def reason_in(body: bytes, request: Request) -> str | None:
    """
    Return the reason for the cancel; None if there is no body.

    Arguments:
        body: the whole body, or more than `BODY_BYTES_MAX` of it.
        request: its request.

    Raises:
        Refused: the body is too large, incomplete, or not a JSON object with only a reason.
    """
    if len(body) > BODY_BYTES_MAX:
        raise Refused(Refusal.TOO_LARGE)
    if len(body) < (bytes_declared(request) or 0):
        raise Refused(Refusal.BAD_BODY)
    if not body:
        if "transfer-encoding" in request.headers:  # Some servers and frameworks drop such a body.
            raise Refused(Refusal.NO_LENGTH)
        return None
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" or "content-encoding" in request.headers:
        raise Refused(Refusal.NO_JSON)
    try:
        value = json.loads(body.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise Refused(Refusal.BAD_BODY) from None
    match value:
        case {"reason": str(reason), **others} if not others:
            if len(reason) <= REASON_CHARACTERS_MAX and is_storable(reason, TEXT_BYTES_MAX):
                return reason
        case dict() if not value:
            return None
        case _:
            pass
    raise Refused(Refusal.BAD_BODY)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name given twice: a proxy may read the other value."""
    value = dict(pairs)
    if len(value) < len(pairs):
        msg = "a name is given twice"
        raise ValueError(msg)
    return value
