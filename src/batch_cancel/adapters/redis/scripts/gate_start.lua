-- Guarantees: 1 if the gate was not closed before this start, at every repetition; it then never is.
-- 0 if it was closed, and -1 if only armed starts may pass and this one is unknown; both change
-- nothing.
local key, retention, armed_only = KEYS[1], tonumber(ARGV[1]), ARGV[2] == '1'

local state = redis.call('GET', key)
if not state and armed_only then
  return -1
end
if state and state ~= 'A' and state ~= 'S' then
  return 0
end
-- Written again if it is a repetition, for the caller that waits until replicas have it.
redis.call('SET', key, 'S', 'PX', math.max(redis.call('PTTL', key), retention))
return 1
