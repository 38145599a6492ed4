-- Guarantees: 1 and waiting for its time, if the id was unknown or still waits; else 0 and nothing
-- changed: what was cancelled, handed out or finished is never scheduled again.
local id, at, payload = ARGV[1], ARGV[2], ARGV[3]

local state = redis.call('HGET', job, id)
if state and string.sub(state, 1, 1) ~= 'D' then
  return 0
end
redis.call('ZADD', due, at, id)
redis.call('HSET', job, id, 'D' .. payload)
return 1
