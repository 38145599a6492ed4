-- Guarantees: 1 if and only if this operation took the start back before it fired, the same at
-- every repetition; whatever the answer, the id is not handed out afterwards, nor scheduled.
local id, operation, retention = ARGV[1], ARGV[2], ARGV[3]

local state = redis.call('HGET', job, id)
local kind = state and string.sub(state, 1, 1)
if kind and kind ~= 'D' and kind ~= 'R' then
  -- Written again as it is, for who waits until replicas have it: the first write may have been
  -- another connection's.
  redis.call('HSET', job, id, state)
  return state == 'C' .. operation and 1 or 0
end
-- The state comes last: whatever fails before it is done again by the repetition, which would
-- otherwise find the start cancelled and leave the rest.
redis.call('ZADD', old, now + retention, id)
if kind == 'D' then
  redis.call('ZREM', due, id)
  redis.call('HSET', job, id, 'C' .. operation)
  return 1
elseif kind == 'R' then
  redis.call('ZREM', run, id)
  redis.call('HSET', job, id, 'L' .. operation)
else
  redis.call('HSET', job, id, 'B' .. operation)
end
return 0
