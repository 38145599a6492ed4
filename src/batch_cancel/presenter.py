"""HTTP answers: the published path of `batch_cancel.http.response`."""

from batch_cancel.http.response import Response, present, present_error

__all__ = ["Response", "present", "present_error"]
