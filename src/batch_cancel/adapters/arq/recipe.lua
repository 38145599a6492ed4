-- Guarantees: true if and only if the job waited and no worker had taken it, nor takes it now; a job
-- that ran before and waits for its retry is not retried, and counts as fired.
--
-- A worker watches the job's in-progress key alone, and looks at the queue after that. Touching that
-- key makes the EXEC of a worker that is taking the job fail.
local function waits(id, queue, job, in_progress, retry)
  return redis.call('EXISTS', in_progress) == 0 and redis.call('ZSCORE', queue, id)
end

local function take_back(id, queue, job, in_progress, retry)
  if redis.call('EXISTS', in_progress) == 1 then
    return false
  end
  if redis.call('ZREM', queue, id) == 0 then
    -- A job has its body for as long as it is in a queue, or runs.
    return redis.call('EXISTS', job) == 1 and 'the job is in another queue of arq than ' .. queue
  end
  redis.call('SET', in_progress, '')
  redis.call('DEL', in_progress)
  redis.call('DEL', job)
  return true, redis.call('DEL', retry) == 1
end
