-- Guarantees: true if and only if the job waited for its time or in its queue, and no worker had it;
-- a job that ran before and waits for its retry is not retried, and counts as fired. So does one whose
-- attempts cannot be read, because SAQ is set to write its jobs in another format than JSON.
local function is_queued(queued, job)
  return redis.call('LPOS', queued, job)
end

local function waits(id, incomplete, queued, active, job)
  local score = redis.call('ZSCORE', incomplete, job)
  -- A retry keeps its old score, even while it runs: so the list of those that run has the word.
  if not score or redis.call('LPOS', active, job) then
    return false
  end
  return tonumber(score) ~= 0 or is_queued(queued, job)
end

local function take_back(id, incomplete, queued, active, job)
  if not waits(id, incomplete, queued, active, job) then
    return false
  end
  local readable, data = pcall(cjson.decode, redis.call('GET', job) or '')
  redis.call('LREM', queued, 0, job)
  redis.call('ZREM', incomplete, job)
  redis.call('DEL', job)
  return true, not (readable and type(data) == 'table' and (tonumber(data.attempts) or 0) == 0)
end

local function oddity(incomplete)
  for _, job in ipairs(redis.call('ZRANGE', incomplete, 0, 9)) do
    local data = redis.pcall('GET', job)
    if type(data) == 'string' and not pcall(cjson.decode, data) then
      return 'SAQ writes jobs as something else than JSON (Queue(dump=...)), so it cannot be read '
        .. 'whether one has run: their cancels take them back, and answer that they had fired'
    end
  end
end
