"""Principals, and the API keys that identify them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest

import attrs


@attrs.frozen
class Principal:
    """
    The owner of an API key.

    Arguments:
        actor: the name that is kept in the records of their cancellations; None for none.
        organization_id: whose jobs they may cancel; None for jobs of no organization.
        may_cancel: whether their role allows it; if not, the answer is a 403 that says so.
    """

    actor: str | None = attrs.field(repr=False)  # May name a person: kept out of logs.
    organization_id: str | None
    may_cancel: bool


class ApiKeys:
    """
    A few keys, compared in constant time; it can be passed as `authenticate`.

    It keeps only digests, and compares each key with all of them: the time that it takes reveals
    neither how much of a key was right nor whose key it is.

    Arguments:
        principals: by key, each of visible ASCII characters.

    Raises:
        ValueError: a key cannot be sent in a header.
    """

    def __init__(self, principals: Mapping[str, Principal]) -> None:
        if not all(
            key and key.isascii() and key.isprintable() and " " not in key for key in principals
        ):
            msg = "a key must be one or more visible ASCII characters"
            raise ValueError(msg)
        self._principals = [(_digest(key), principal) for key, principal in principals.items()]

    def __call__(self, key: str) -> Principal | None:
        """Return the principal of a key; None for an unknown key."""
        digest = _digest(key)
        found = [principal for own, principal in self._principals if compare_digest(own, digest)]
        return found[0] if found else None


def _digest(key: str) -> bytes:
    return sha256(key.encode()).digest()
