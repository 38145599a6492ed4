-- Guarantees: true if and only if the job waited for its time or in its queue, and no worker had it.
--
-- rq-scheduler puts a job into its queue first and forgets its time a moment later: what a worker
-- took in between has fired, and its status tells.
local scheduled, queue, job = KEYS[2], KEYS[3], KEYS[4]
local id = ARGV[3]
local NOT_FIRED = {[''] = true, created = true, scheduled = true, deferred = true}

local function take_back()
  local status = redis.call('HGET', job, 'status') or ''
  local waited = redis.call('ZREM', scheduled, id) == 1
  local queued = redis.call('LREM', queue, 0, id) > 0
  if queued or (waited and NOT_FIRED[status]) then
    redis.call('DEL', job)
    return true
  end
  return false
end
