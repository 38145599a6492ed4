"""
Dramatiq messages that pass the start gate before they are processed.

A worker takes a delayed message into its memory at once: nobody can take it back. So the gate
decides when the message comes to be processed; it is also the scheduler to cancel with:

    gate = StartGate(redis.Redis())
    broker.add_middleware(StartGateMiddleware(gate))

    @dramatiq.actor(start_gate=True)
    def start_campaign(job_id): ...

    message = start_campaign.message(job_id)
    gate.arm(message.message_id, at)
    broker.enqueue(message, delay=milliseconds)

    cancel_job(job_id, uow=uow, scheduler=gate)

The id of a deferred start is the message's id. An id is used once.

Every message of such an actor has to be armed, one without a delay too, unless the gate is made
with `armed_only=False`.
"""

# Dramatiq need not be installed where this is checked.
# pyright: basic, reportMissingImports=false

from __future__ import annotations

from typing import Any

from dramatiq.middleware import Middleware, MiddlewareError, SkipMessage

from batch_cancel.adapters.redis import StartGate

__all__ = ["StartGateMiddleware", "StartGateUnavailable"]


class StartGateUnavailable(MiddlewareError):  # type: ignore[misc]
    """The start gate gave no answer or does not know the message, which is not processed now."""


class StartGateMiddleware(Middleware):  # type: ignore[misc]
    """
    Lets the messages of actors with `start_gate=True` pass only if the gate does.

    A message that was cancelled is skipped. Without an answer from the gate, or if the gate does
    not know the message, it fails, and is tried again as the actor's own retries say.

    Arguments:
        gate: which one.
    """

    def __init__(self, gate: StartGate) -> None:
        self._gate = gate

    @property
    def actor_options(self) -> set[str]:
        """Name what an actor may be declared with."""
        return {"start_gate"}

    def before_process_message(self, broker: Any, message: Any) -> None:  # noqa: ANN401  # Not installed here.
        """Ask the gate."""
        if not broker.get_actor(message.actor_name).options.get("start_gate"):
            return
        try:
            may_start = self._gate.may_start(message.message_id)
        except Exception as error:
            # Of any error that is not a middleware's own, Dramatiq makes a line in its log, and
            # processes the message.
            raise StartGateUnavailable(str(error)) from error
        if not may_start:
            msg = "cancelled before it started"
            raise SkipMessage(msg)
