"""Call the library: each step alone or joined, blocking or with asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from typing import Any, Final, Protocol, assert_never

import attrs

import batch_cancel as library
from batch_cancel.domain.errors import BatchCancelError
from batch_cancel.domain.statuses import ContactStatus
from tests.schemas.calls import Answer, Call, Refusal

OLDER_THAN: Final = timedelta(hours=1)
"""How long a call may take before it is taken for dead."""


class Starts:
    """A scheduler that keeps the starts which it is made with."""

    def __init__(self, deferred_ids: AbstractSet[str]) -> None:
        self.waiting = set(deferred_ids)

    def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Take a start back."""
        found = deferred_id in self.waiting
        self.waiting.discard(deferred_id)
        return found

    def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """Return those that wait."""
        return self.waiting & deferred_ids


class AsyncStarts:
    """The same for asyncio."""

    def __init__(self, starts: Starts) -> None:
        self._starts = starts

    async def cancel(self, deferred_id: str, operation_id: str) -> bool:
        """Take a start back."""
        return self._starts.cancel(deferred_id, operation_id)

    async def waiting_among(self, deferred_ids: AbstractSet[str]) -> set[str]:
        """Return those that wait."""
        return self._starts.waiting_among(deferred_ids)


class AtCommit(Exception):
    """The caller's own commit failed, and the caller knows."""


class Store(Protocol):
    """A store over the tables of one case, as an adopter would open it."""

    def alone(self) -> Any:
        """Return a unit of work with transactions of its own."""

    def joined(self, *, commits: bool) -> AbstractContextManager[Any]:
        """Yield a unit of work within a transaction that is then committed, or rolled back."""
        ...

    def alone_async(self) -> Any:
        """Return `alone` for asyncio."""

    def joined_async(self, *, commits: bool) -> AbstractAsyncContextManager[Any]:
        """Yield `joined` for asyncio."""
        ...


@attrs.frozen
class Performer:
    """Calls steps on a store, asyncio ones on one loop."""

    store: Store
    starts: Starts
    runner: asyncio.Runner

    def perform(self, call: Call) -> Answer | Refusal:
        """Call the step, and return what it answered or raised."""
        try:
            if call.how.is_async:
                return Answer(self.runner.run(self._async(call)))
            return Answer(self._blocking(call))
        except BatchCancelError as error:
            return Refusal(type(error).__name__, _sentence(error))
        except AtCommit as error:
            return Refusal("the caller's commit", str(error))
        except Exception as error:  # noqa: BLE001  # The verdict says what it thinks of it.
            return Refusal(type(error).__name__, str(error), is_named=False)

    def _blocking(self, call: Call) -> Any:
        if not call.how.is_joined:
            return _plain(self._step(call, self.store.alone()))
        failure: Exception | None = None
        value: Any = None
        with self.store.joined(commits=not call.how.is_rolled_back) as uow:
            try:
                value = self._step(call, uow)
            except BatchCancelError as error:
                failure = error  # The caller goes on, and commits what is his.
        if failure is not None:
            raise failure
        if call.step == "cancel" and not call.how.is_rolled_back:
            value = library.remove_deferred(value, self.starts, uow=self.store.alone())
        return _plain(value)

    async def _async(self, call: Call) -> Any:
        if not call.how.is_joined:
            return _plain(await self._step_async(call, self.store.alone_async()))
        failure: Exception | None = None
        value: Any = None
        async with self.store.joined_async(commits=not call.how.is_rolled_back) as uow:
            try:
                value = await self._step_async(call, uow)
            except BatchCancelError as error:
                failure = error
        if failure is not None:
            raise failure
        if call.step == "cancel" and not call.how.is_rolled_back:
            value = await library.remove_deferred_async(
                value, AsyncStarts(self.starts), uow=self.store.alone_async()
            )
        return _plain(value)

    def _step(self, call: Call, uow: Any) -> Any:
        function, arguments = _function(call, "")
        if function is library.cancel_job or call.step == "inspect":
            arguments["scheduler"] = self.starts
        return function(**arguments, uow=uow)

    async def _step_async(self, call: Call, uow: Any) -> Any:
        function, arguments = _function(call, "_async")
        if function is library.cancel_job_async or call.step == "inspect":
            arguments["scheduler"] = AsyncStarts(self.starts)
        return await function(**arguments, uow=uow)


def _function(call: Call, suffix: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    named: dict[str, Any] = {
        "batch_job_id": call.batch_job_id,
        "organization_id": call.organization_id,
    }
    more: dict[str, Any] = {}
    match call.step:
        case "cancel":
            name = "cancel_rows" if call.how.is_joined else "cancel_job"
            more = {"operation_id": call.operation_id, "actor": "actor", "reason": "reason"}
        case "start":
            name = "start_job"
        case "claim":
            name, more = "claim_contacts", {"limit": call.limit}
        case "settle":
            outcome = ContactStatus(call.outcome)
            name, more = "settle_contact", {"contact_id": call.contact_id, "outcome": outcome}
        case "append":
            name, more = "append_contacts", {"contacts": call.contacts}
        case "finish":
            name = "finish_job"
        case "expire":
            name, more = "expire_calls", {"older_than": OLDER_THAN}
        case "inspect":
            name, named = "inspect", {}
        case _:
            assert_never(call.step)
    return getattr(library, name + suffix), {**named, **more}


def _plain(value: Any) -> Any:
    """Return an answer as plain values."""
    match value:
        case library.CancelResult():
            return {
                "batch_job_id": value.batch_job_id,
                "previous_status": str(value.previous_status),
                "contacts_cancelled": value.contacts_cancelled,
                "removal": str(value.removal),
                "replayed": value.replayed,
            }
        case library.Drift():
            return tuple(
                (it.key.batch_job_id, it.key.organization_id, it.contacts_open)
                for it in value.contacts_open
            )
        case list():
            return tuple(value)
        case ContactStatus():
            return str(value)
        case _:
            return value


def _sentence(error: BatchCancelError) -> str:
    return str(getattr(error, "reason", None) or error)
