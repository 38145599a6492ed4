-- Guarantees: true if and only if the task waited for its time or in its queue, and no worker had it.
--
-- Huey keeps a task as its message alone, so the message that was remembered names it.
local scheduled, queue, remembered = KEYS[2], KEYS[3], KEYS[4]

local function take_back()
  local message = redis.call('GET', remembered)
  if not message then
    return false
  end
  redis.call('DEL', remembered)
  -- Only one of them holds it, but for a task that was scheduled twice under one id.
  local waited = redis.call('ZREM', scheduled, message)
  return redis.call('LREM', queue, 0, message) + waited > 0
end
