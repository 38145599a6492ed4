"""
Deferred starts in Redis or Valkey: the native store, for blocking and for asyncio programs.

`script_runner` runs a script within a time budget, on any client; `scheduler` is the native store;
`start_gate` is for starts that wait elsewhere. Each script states its guarantee at the top of its
file.
"""

from batch_cancel.adapters.missing_extra import missing_extra

try:
    from batch_cancel.adapters.redis.scheduler import AsyncRedisScheduler, RedisScheduler
    from batch_cancel.adapters.redis.start_gate import AsyncStartGate, StartGate
except ModuleNotFoundError as _missing:
    raise missing_extra(__name__, "redis", _missing) from _missing

__all__ = ["AsyncRedisScheduler", "AsyncStartGate", "RedisScheduler", "StartGate"]
