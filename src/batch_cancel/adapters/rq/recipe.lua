-- Guarantees: true if and only if the job waited - for its time, in its queue, for a free slot of its
-- rate limit or for another job -, no worker had it, and none had it before; what waits for its retry
-- or its repetition is taken back too, and counts as fired.
local NOT_FIRED = {[''] = true, created = true, scheduled = true, deferred = true}
local TAKEN = {queued = true, started = true}

local function look(id, scheduled, queue, deferred, ready, limits, job)
  local status, started_at, limit = unpack(redis.call('HMGET', job, 'status', 'started_at',
    'rate_limit_key'))
  local held = limit and limits .. limit
  -- All is read before anything is removed: what is of another type fails here.
  local timed = redis.call('ZSCORE', scheduled, id)
  local queued = redis.call('LPOS', queue, id)
    or redis.call('ZSCORE', deferred, id) or redis.call('ZSCORE', ready, id)
    or held and redis.call('ZSCORE', held .. ':rate_limited', id)
  -- rq-scheduler puts a job into its queue first and forgets its time a moment later. What a worker
  -- took in between has fired; so has what is in no queue and not of a status that comes before.
  local is_taken = not queued and TAKEN[status or '']
  local had_fired = (started_at or '') ~= '' or not (queued or NOT_FIRED[status or ''])
  return not is_taken and (timed or queued), had_fired, held
end

local function waits(id, scheduled, queue, deferred, ready, limits, job)
  local status, limit = unpack(redis.call('HMGET', job, 'status', 'rate_limit_key'))
  -- Its status says where it is: the queue is searched only if it is there.
  if status == 'queued' then
    return redis.call('LPOS', queue, id)
  end
  return status ~= 'started' and redis.call('ZSCORE', scheduled, id)
    or redis.call('ZSCORE', deferred, id) or redis.call('ZSCORE', ready, id)
    or limit and redis.call('ZSCORE', limits .. limit .. ':rate_limited', id)
end

local function take_back(id, scheduled, queue, deferred, ready, limits, job)
  local is_waiting, had_fired, held = look(id, scheduled, queue, deferred, ready, limits, job)
  redis.call('ZREM', scheduled, id)
  if not is_waiting then
    local origin, status = unpack(redis.call('HMGET', job, 'origin', 'status'))
    if origin and string.sub(queue, -#origin - 1) ~= ':' .. origin
        and (NOT_FIRED[status or ''] or status == 'queued' or status == 'rate_limited') then
      return 'the job is in another queue of RQ: ' .. origin
    end
    return false
  end
  redis.call('LREM', queue, 0, id)
  redis.call('ZREM', deferred, id)
  redis.call('ZREM', ready, id)
  if held then
    redis.call('ZREM', held .. ':rate_limited', id)
    -- RQ's own upkeep lets the next one into the slot, if this one had it.
    redis.call('ZREM', held .. ':allowed', id)
  end
  redis.call('DEL', job, job .. ':dependencies', job .. ':dependents')
  return true, had_fired
end

local function oddity(scheduled, queue)
  local prefix, name = string.match(queue, '^(.-):queue:(.*)$')
  local known = redis.call('SMEMBERS', prefix .. ':queues')
  for _, key in ipairs(known) do
    if key == queue then
      return
    end
  end
  if #known > 0 then
    return 'RQ has queues in this Redis, but none of the name ' .. name .. ': see queue= and prefix='
  end
end
