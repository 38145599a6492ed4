-- Guarantees: true if and only if the job waited and no worker had taken it, nor takes it now; a job
-- that ran before and waits for its retry is not retried, and counts as fired.
--
-- A worker watches the job's in-progress key alone, and looks at the queue after that. To touch that
-- key makes fail the worker's EXEC which would take the job at this moment.
local queue, job, in_progress, retry = KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id = ARGV[3]

local function take_back()
  if redis.call('EXISTS', in_progress) == 1 or redis.call('ZREM', queue, id) == 0 then
    return false
  end
  redis.call('SET', in_progress, '')
  redis.call('DEL', in_progress)
  redis.call('DEL', job)
  return redis.call('DEL', retry) == 0
end
