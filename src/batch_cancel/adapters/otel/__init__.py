"""
OpenTelemetry for the library: a span for each call of a port, and metrics of the outcomes.

    telemetry = Telemetry()
    uow, scheduler = telemetry.uow(uow), telemetry.scheduler(scheduler)
    cancel_job = telemetry.counted(batch_cancel.cancel_job)

Rule 1: the behaviour of a port is not changed: answers and errors pass through as they are, and
        its optional capabilities stay visible.
Rule 2: no phone number, connection string, key, actor or reason gets into a span or a metric. Of
        an error only the type and the library's own code are recorded: its message may contain
        anything.
Rule 3: a job's id is recorded in spans only. As a label of a metric it would make one series for
        each job.

It needs only opentelemetry-api; the program sets up where metrics and spans go.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from importlib import metadata
from typing import Any, Final, ParamSpec, Self, TypeVar, cast

import attrs

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from opentelemetry import metrics, trace
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "otel", _missing) from _missing

from batch_cancel.adapters.otel.pending_removals import PendingRemovals
from batch_cancel.domain.cancellation import Cancellation, CancelResult
from batch_cancel.domain.defaults import LOOK_LIMIT
from batch_cancel.domain.errors import (
    AlreadyTerminal,
    BatchCancelError,
    CancelFailed,
    JobNotFound,
    UnknownJobStatus,
)
from batch_cancel.domain.job import CancellationRecord, Job, JobKey
from batch_cancel.domain.worker_rules import check_limit
from batch_cancel.ports import UnitOfWork
from batch_cancel.use_cases.kinds import check_store

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")

_NAME: Final = "batch_cancel"
_SERVER_ERROR: Final = 500
_CONTACTS: Final = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)
"""The bounds of the buckets of the histogram of contacts."""


class Telemetry:
    """
    Records what the library does in OpenTelemetry.

    The metrics are

        batch_cancel.cancellations        counter, by `outcome`: cancelled, replayed, not_found,
                                          already_terminal, unknown_status, failed, unknown (it
                                          may have happened), interrupted
        batch_cancel.removals             counter, by `removal` and by the `function` that knows
        batch_cancel.contacts_cancelled   histogram, one value for each cancellation
        batch_cancel.removals_pending     gauge, of the stores that `watch` names: how many
        batch_cancel.removals_pending.age gauge, in seconds: for how long the oldest is pending

    Arguments:
        tracer_provider: where spans go; the program's own when None.
        meter_provider: where metrics go; the program's own when None.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        version = metadata.version(_NAME)
        self._spans = _Spans(trace.get_tracer(_NAME, version, tracer_provider))
        self._meter = meter = metrics.get_meter(_NAME, version, meter_provider)
        self._cancellations = meter.create_counter(
            "batch_cancel.cancellations", "{cancellation}", "Cancellations asked for, by outcome."
        )
        self._removals = meter.create_counter(
            "batch_cancel.removals", "{removal}", "What became of deferred starts."
        )
        self._contacts = meter.create_histogram(
            "batch_cancel.contacts_cancelled",
            "{contact}",
            "Contacts that a cancellation changed.",
            explicit_bucket_boundaries_advisory=_CONTACTS,
        )
        self._pending = PendingRemovals()

    def uow(self, uow: _T) -> _T:
        """
        Return this unit of work with a span around each transaction, and each call within it.

        Its optional capabilities stay available.
        """
        return cast("_T", _UnitOfWork(uow, "batch_cancel.uow", self._spans))

    def scheduler(self, scheduler: _T) -> _T:
        """Return this scheduler with a span around each call."""
        return cast("_T", _Port(scheduler, "batch_cancel.scheduler", self._spans))

    def counted(self, function: Callable[_P, _R]) -> Callable[_P, _R]:
        """
        Return this function with a span around each call, and its outcomes counted.

        Arguments:
            function: `cancel_job`, or for two steps `cancel_rows` and `remove_deferred`, and
                `reconcile`; their asyncio halves; or one of yours that returns what they return.
        """
        name = _name_of(function)
        call = self._spans.around(function, f"batch_cancel.{name}", named_by_text=True)

        @functools.wraps(function)
        def count(*arguments: _P.args, **options: _P.kwargs) -> _R:
            with self._failures_counted(name):
                answer = call(*arguments, **options)
            self._count(answer, name)
            return answer

        @functools.wraps(function)
        async def count_async(*arguments: _P.args, **options: _P.kwargs) -> object:
            with self._failures_counted(name):
                answer = await cast("Awaitable[object]", call(*arguments, **options))
            self._count(answer, name)
            return answer

        is_async = inspect.iscoroutinefunction(function)
        return cast("Callable[_P, _R]", count_async if is_async else count)

    def watch(self, uow: UnitOfWork, *, limit: int = LOOK_LIMIT) -> None:
        """
        Report the pending removals of a store each time that metrics are collected.

        The store is read in the thread that collects, without a lock or a change. No value is
        reported while it does not answer. Of several stores the gauges report the sum and the
        oldest, while all of them answer. Name a store in one process of your program.

        Arguments:
            uow: the store, a blocking one; a program on asyncio names a second one for this.
            limit: how many are counted at most.

        Raises:
            TypeError, ValueError: the store is of the wrong kind, or `limit` not 1 to 1,000,000.
        """
        check_store(uow)
        check_limit(limit, 1)
        pending = self._pending
        if not pending.watch(uow, limit):
            return  # OpenTelemetry would not read a second gauge of the same name.
        self._meter.create_observable_gauge(
            "batch_cancel.removals_pending",
            [pending.number],
            "{removal}",
            "Removals of deferred starts that reconcile has still to finish.",
        )
        self._meter.create_observable_gauge(
            "batch_cancel.removals_pending.age",
            [pending.age],
            "s",
            "For how long the oldest of them is pending.",
        )

    def _count(self, answer: object, name: str) -> None:
        if isinstance(answer, CancelResult):
            self._cancellations.add(1, {"outcome": "replayed" if answer.replayed else "cancelled"})
            if not answer.replayed:
                self._contacts.record(answer.contacts_cancelled)
        results = cast("list[object]", answer) if isinstance(answer, list) else [answer]
        for result in results:  # Those of reconcile were counted before.
            if isinstance(result, CancelResult):
                self._removals.add(1, {"removal": result.removal.value, "function": name})

    @contextmanager
    def _failures_counted(self, name: str) -> Generator[None]:
        try:
            yield
        except BaseException as error:
            if name != "reconcile":  # A failed pass is no failed cancellation.
                self._cancellations.add(1, {"outcome": _outcome_of(error)})
            raise


def _name_of(function: Callable[..., object]) -> str:
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__).removesuffix("_async")


def _outcome_of(error: BaseException) -> str:
    match error:
        case JobNotFound():
            return "not_found"
        case AlreadyTerminal():
            return "already_terminal"
        case UnknownJobStatus():
            return "unknown_status"
        case CancelFailed(outcome="unknown"):
            return "unknown"
        case Exception():
            return "failed"
        case _:
            return "interrupted"


# Spans -------------------------------------------------------------------------------------------


@attrs.frozen
class _Spans:
    tracer: trace.Tracer

    @contextmanager
    def span(self, name: str, job_id: str | None = None) -> Generator[trace.Span]:
        attributes = {} if job_id is None else {"batch_cancel.job_id": job_id}
        with self.tracer.start_as_current_span(
            name,
            attributes=attributes,
            record_exception=False,  # It would record the message as well.
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                _record_error(span, error)
                raise

    def around(
        self, function: Callable[_P, _R], name: str, *, named_by_text: bool = False
    ) -> Callable[_P, _R]:
        """Return a function with a span around each call."""

        @functools.wraps(function)
        def call(*arguments: _P.args, **options: _P.kwargs) -> _R:
            with self.span(name, _job_id(arguments, named_by_text=named_by_text)) as span:
                answer = function(*arguments, **options)
                _record_answer(span, answer)
                return answer

        @functools.wraps(function)
        async def call_async(*arguments: _P.args, **options: _P.kwargs) -> object:
            with self.span(name, _job_id(arguments, named_by_text=named_by_text)) as span:
                answer = await cast("Awaitable[object]", function(*arguments, **options))
                _record_answer(span, answer)
                return answer

        is_async = inspect.iscoroutinefunction(function)
        return cast("Callable[_P, _R]", call_async if is_async else call)

    @contextmanager
    def transaction(self, inner: AbstractContextManager[object]) -> Generator[_Repositories]:
        with self.span("batch_cancel.transaction"), inner as repositories:
            yield _Repositories(repositories, "batch_cancel", self)

    @asynccontextmanager
    async def transaction_async(
        self, inner: AbstractAsyncContextManager[object]
    ) -> AsyncGenerator[_Repositories]:
        with self.span("batch_cancel.transaction"):
            async with inner as repositories:
                yield _Repositories(repositories, "batch_cancel", self)


def _job_id(arguments: Sequence[object], *, named_by_text: bool) -> str | None:
    """Return the id of the job in the first argument of a call, if it has a valid one."""
    subject = arguments[0] if arguments else None
    match subject:
        case JobKey():
            key = subject
        case Job() | CancellationRecord():
            key = subject.key
        case Cancellation():
            key = subject.record.key
        case str() if named_by_text:
            key = JobKey(subject)
        case _:
            return None
    return key.batch_job_id if key.can_exist else None


def _record_answer(span: trace.Span, answer: object) -> None:
    if isinstance(answer, int):  # The number of contacts, or whether a start was removed.
        span.set_attribute("batch_cancel.answer", answer)
    if isinstance(answer, CancelResult):
        span.set_attributes(
            {
                "batch_cancel.previous_status": answer.previous_status.value,
                "batch_cancel.contacts_cancelled": answer.contacts_cancelled,
                "batch_cancel.removal": answer.removal.value,
                "batch_cancel.replayed": answer.replayed,
            }
        )


def _record_error(span: trace.Span, error: BaseException) -> None:
    kind = type(error).__qualname__
    span.set_attribute("error.type", kind)
    what = kind
    if isinstance(error, BatchCancelError):
        what = error.code
        span.set_attribute("batch_cancel.error", what)
        if error.http_status < _SERVER_ERROR:
            return  # No such job, or an ended one: an ordinary answer.
    span.set_status(trace.StatusCode.ERROR, what)
    span.add_event("exception", {"exception.type": kind})


# The proxies of ports ----------------------------------------------------------------------------


class _Port:
    """
    A proxy with a span around each call of a public method.

    It passes isinstance checks as its port, so that the declared capabilities are found.
    """

    def __init__(self, inner: object, prefix: str, spans: _Spans) -> None:
        self._inner = inner
        self._prefix = prefix
        self._spans = spans

    @property  # type: ignore[misc]  # It is read only.
    def __class__(self) -> type[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return cast("type[Self]", type(self._inner))  # It claims the class of its port.

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):  # Private names are not proxied.
            raise AttributeError(name)
        value = getattr(self._inner, name)
        return self._spans.around(value, f"{self._prefix}.{name}") if callable(value) else value


class _UnitOfWork(_Port):
    """A unit of work with a span around each transaction."""

    def begin(self) -> object:
        """Open a transaction."""
        inner: Any = self._inner
        return self._opened(inner.begin())

    @property
    def begin_autocommit(self) -> Callable[[], object]:
        """Opens a transaction in which each call may be committed; the store may lack it."""
        inner: Any = self._inner
        begin: Callable[[], object] = inner.begin_autocommit
        return lambda: self._opened(begin())

    def _opened(self, transaction: object) -> object:
        if isinstance(transaction, AbstractContextManager):
            blocking = cast("AbstractContextManager[object]", transaction)
            return self._spans.transaction(blocking)
        if isinstance(transaction, AbstractAsyncContextManager):
            awaited = cast("AbstractAsyncContextManager[object]", transaction)
            return self._spans.transaction_async(awaited)
        return transaction  # Of neither kind: the use case refuses it.


class _Repositories(_Port):
    """The repositories of one transaction, with a span around each call."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("_"):
            raise AttributeError(name)
        repository = getattr(self._inner, name)
        if repository is None:  # Declared as not offered.
            return None
        return _Port(repository, f"{self._prefix}.{name}", self._spans)
