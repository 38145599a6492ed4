"""A world whose ports are watched by OpenTelemetry, and what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from batch_cancel import (
    CancelResult,
    cancel_job,
    cancel_job_async,
)
from batch_cancel.adapters.otel import Telemetry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.pairs import World

ROWS = [
    "batch_cancel.jobs.lock",
    "batch_cancel.contacts.cancel",
    "batch_cancel.jobs.mark_cancelled",
    "batch_cancel.transaction",
]
DONE = [
    *ROWS,
    "batch_cancel.scheduler.cancel",
    "batch_cancel.outbox.settle",
    "batch_cancel.transaction",
    "batch_cancel.cancel_job",
]
"""In the order in which they end."""


class Watch:
    """A telemetry, and what it has told."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([self._reader])
        self.telemetry = Telemetry(tracer_provider=self.tracers, meter_provider=self._meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that ended, in that order."""
        return list(self._spans.get_finished_spans())

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [span.name for span in self.spans]

    def span(self, name: str) -> ReadableSpan:
        """Return the one of this name."""
        [span] = [span for span in self.spans if span.name == f"batch_cancel.{name}"]
        return span

    def numbers(self) -> dict[str, dict[Any, Any]]:
        """Return each counter's value by its labels, and each histogram's count and sum."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name.removeprefix("batch_cancel."): dict(
                map(self._point, metric.data.data_points)
            )
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @staticmethod
    def _point(point: Any) -> tuple[Any, Any]:
        value = (point.count, point.sum) if hasattr(point, "count") else point.value
        return tuple(point.attributes.values()), value

    def everything(self) -> str:
        """Return all that was told, as an exporter would send it."""
        data = self._reader.get_metrics_data()
        return "\n".join(span.to_json() for span in self.spans) + (data.to_json() if data else "")

    def close(self) -> None:
        """Shut down."""
        self.tracers.shutdown()
        self._meters.shutdown()


@pytest.fixture
def watch() -> Generator[Watch]:
    """Yield a telemetry."""
    watch = Watch()
    yield watch
    watch.close()


class Watched:
    """A world whose ports are watched."""

    def __init__(self, world: World, watch: Watch) -> None:
        self.world = world
        self._watch = watch
        self.uow = watch.telemetry.uow(world.store.uow)

    def call(
        self,
        function: Callable[..., Any],
        function_async: Callable[..., Any],
        *args: Any,
        **more: Any,
    ) -> Any:
        """Call the half that is this world's, counted."""
        chosen = function_async if self.world.runner else function
        scheduler = more.pop("scheduler", self.world.scheduler)
        if "cancel_rows" not in chosen.__name__:
            more["scheduler"] = self._watch.telemetry.scheduler(scheduler)
        return self.world._run(self._watch.telemetry.counted(chosen), *args, uow=self.uow, **more)

    def cancel(self, job_id: str, **options: Any) -> CancelResult:
        """Cancel."""
        result: CancelResult = self.call(cancel_job, cancel_job_async, job_id, **options)
        return result


@pytest.fixture
def watched(world: World, watch: Watch) -> Watched:
    """Yield a watched world."""
    return Watched(world, watch)


def never() -> Any:
    """Fail the test: nobody may connect."""
    raise AssertionError
