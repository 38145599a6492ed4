"""The URLs of the site: the admin, the endpoint, and the endpoint's view at a route of its own."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.urls import include, path

from batch_cancel import cancel_job
from batch_cancel.adapters.django.views import cancel_url, cancel_view
from batch_cancel.http import Principal
from tests.django_calls.wiring import app

if TYPE_CHECKING:
    from django.http import HttpRequest

KEYS = {
    "key-a": Principal("ada", "a", may_cancel=True),
    "key-b": Principal("bob", "b", may_cancel=True),
    "key-viewer": Principal("vic", "a", may_cancel=False),
}


def principal(request: HttpRequest) -> Principal | None:
    """Return who asks: by a header that is not `Authorization`."""
    headers: Any = request.headers
    return KEYS.get(headers.get("X-Key", ""))


cancel = partial(cancel_job, uow=app.uow, scheduler=app.scheduler)
cancel_and_tell = partial(cancel, on_cancelled=app.on_cancelled)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("v1/", include([cancel_url(cancel, principal)])),
    path("campaigns/<slug:batch_job_id>/stop", cancel_view(cancel_and_tell, principal)),
]
