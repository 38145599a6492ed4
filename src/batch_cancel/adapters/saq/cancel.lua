-- Guarantees: true if and only if the job waited for its time or in its queue, and no worker had it;
-- a job that ran before and waits for its retry is not retried, and counts as fired.
local incomplete, queued, active, job = KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local function take_back()
  local score = redis.call('ZSCORE', incomplete, job)
  -- A retry keeps its old score, even while it runs: so the list of those that run has the word.
  if not score or redis.call('LPOS', active, job) then
    return false
  end
  local in_queue = redis.call('LREM', queued, 0, job) > 0
  if not in_queue and tonumber(score) == 0 then
    return false
  end
  local readable, data = pcall(cjson.decode, redis.call('GET', job) or '')
  redis.call('ZREM', incomplete, job)
  redis.call('DEL', job)
  return not (readable and type(data) == 'table' and (tonumber(data.attempts) or 0) > 0)
end
