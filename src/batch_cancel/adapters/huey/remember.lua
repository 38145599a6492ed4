-- Guarantees: the messages under which a task is kept by Huey are kept here, until they are forgotten.
-- A message that a consumer wrote for a task that was cancelled while it carried it is dropped: 0.
--
-- ARGV[2] says where it comes from: "new", from whoever schedules; "again", from a consumer that
-- moves it; "retry", from one that has run it.
local scheduled, remembered = KEYS[1], KEYS[2]
local message, from, retention = ARGV[1], ARGV[2], ARGV[3]

local state = '0'
if from == 'retry' then
  state = '1'
elseif from == 'again' then
  -- A consumer may write the same task in other bytes: then the worst that is known of it counts.
  state = redis.call('HGET', remembered, message)
  if not state then
    state = '0'
    for _, other in ipairs(redis.call('HVALS', remembered)) do
      state = other > state and other or state
    end
  end
else
  -- A new life: what was cancelled on its way is of an old one.
  for _, other in ipairs(redis.call('HKEYS', remembered)) do
    if redis.call('HGET', remembered, other) == 'x' then
      redis.call('HDEL', remembered, other)
    end
  end
end
if state == 'x' then
  redis.call('ZREM', scheduled, message)
  redis.call('HDEL', remembered, message)
  return 0
end
redis.call('HSET', remembered, message, state)
redis.call('PEXPIRE', remembered, retention)
return 1
