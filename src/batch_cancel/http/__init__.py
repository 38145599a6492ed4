"""
The public names of the HTTP endpoint, without framework and server.

Modules of this package import each other by their full names, never from here.
"""

from batch_cancel.http.api_keys import ApiKeys, Principal
from batch_cancel.http.docs_page import Page
from batch_cancel.http.endpoint import (
    AsyncAuthenticate,
    AsyncCancel,
    AsyncEndpoint,
    Authenticate,
    Cancel,
    Endpoint,
)
from batch_cancel.http.request import Request, decoded, joined
from batch_cancel.http.response import Response, present, present_error

__all__ = [
    "ApiKeys",
    "AsyncAuthenticate",
    "AsyncCancel",
    "AsyncEndpoint",
    "Authenticate",
    "Cancel",
    "Endpoint",
    "Page",
    "Principal",
    "Request",
    "Response",
    "decoded",
    "joined",
    "present",
    "present_error",
]
