-- Guarantees: 1 if and only if this operation closed the gate of an armed start, the same at every
-- repetition; whatever the answer, a start that was undecided finds the gate closed.
local key, operation, retention = KEYS[1], ARGV[1], tonumber(ARGV[2])

local state = redis.call('GET', key)
if state and state ~= 'A' then
  -- Written again as it is, for the caller that waits until replicas have it: the first write may
  -- have been another connection's.
  redis.call('SET', key, state, 'KEEPTTL')
  return state == 'C' .. operation and 1 or 0
end
local closed = (state and 'C' or 'B') .. operation
redis.call('SET', key, closed, 'PX', math.max(redis.call('PTTL', key), retention))
return state and 1 or 0
