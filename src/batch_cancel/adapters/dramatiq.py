"""
Dramatiq messages that pass the start gate before they are processed.

A worker takes a delayed message into its memory at once, where it cannot be removed. So the gate
decides when the message is processed; pass it as the scheduler:

    gate = StartGate(redis.Redis())
    broker.add_middleware(StartGateMiddleware(gate))

    @dramatiq.actor(start_gate=True)
    def start_campaign(job_id): ...

    message = start_campaign.message(job_id)
    gate.arm(message.message_id, at)
    broker.enqueue(message, delay=milliseconds)

    cancel_job(job_id, uow=uow, scheduler=gate)

The id of a deferred start is the message's id. An id is used once.

Arm every message of such an actor, also one without a delay, unless the gate is made with
`armed_only=False`.
"""

# Dramatiq need not be installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "dramatiq", _missing) from _missing

from batch_cancel.adapters.redis import StartGate

__all__ = ["StartGateMiddleware", "StartGateUnavailable"]


class StartGateUnavailable(MiddlewareError):  # type: ignore[misc]
    """The start gate did not answer or does not know the message, which is not processed now."""


class StartGateMiddleware(Middleware):  # type: ignore[misc]
    """
    Processes messages of actors with `start_gate=True` only if the gate lets them pass.

    A cancelled message is skipped. If the gate does not answer, or does not know the message, the
    message fails, and is retried by the actor's own settings.

    Arguments:
        gate: the start gate.
    """

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate

    @property
    def actor_options(self) -> set[str]:
        """Return the option that an actor may declare."""
        return {"start_gate"}

    def before_process_message(self, broker: Any, message: Any) -> None:  # noqa: ANN401  # Not installed here.
        """Ask the gate."""
        if not broker.get_actor(message.actor_name).options.get("start_gate"):
            return
        try:
            may_start = self._gate.may_start(message.message_id)
        except Exception as error:
            # Dramatiq only logs an error that is not a MiddlewareError, and processes the message.
            raise StartGateUnavailable(str(error)) from error
        if not may_start:
            msg = "cancelled before it started"
            raise SkipMessage(msg)
