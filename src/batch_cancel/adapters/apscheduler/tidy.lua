-- Guarantees: the job is gone if it is due so far ahead that the scheduler does not hold it yet; one
-- that it holds must stay, for it dies of a job that vanishes.
local jobs, run_times = KEYS[1], KEYS[2]
local id, seconds_ahead = ARGV[1], tonumber(ARGV[2])

local at = redis.call('ZSCORE', run_times, id)
if at and tonumber(at) - redis.call('TIME')[1] > seconds_ahead then
  redis.call('HDEL', jobs, id)
  redis.call('ZREM', run_times, id)
end
return 0
