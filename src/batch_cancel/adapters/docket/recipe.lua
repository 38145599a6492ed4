-- Guarantees: true if and only if the task waited - for its time, in the stream or for a slot -, and no
-- worker had run it; what waits for its retry is taken back too, and counts as fired.
--
-- A worker starts what it has read from the stream only after one script has claimed it, and that
-- script refuses a task whose record says that it is cancelled. So the record decides, wherever the
-- message is. It is kept, with its generation: without it the message would look like that of a
-- later task with the same key.
local WAITING = {scheduled = true, queued = true}
local MESSAGES_MAX, PAGE_SIZE, SLACK_SECONDS = 10000, 100, 60

local function waits(id, queue, stream, parked, record)
  return WAITING[redis.call('HGET', record, 'state') or '']
end

local function by_name(fields)
  local found = {}
  for i = 1, #fields, 2 do
    found[fields[i]] = fields[i + 1]
  end
  return found
end

local function message_at(id, stream, entry)
  local found = entry and redis.call('XRANGE', stream, entry, entry)[1]
  local fields = found and by_name(found[2])
  return fields and fields.key == id and fields
end

-- What docket moved from the queue to the stream is not named in its record. It was moved when it was
-- due, by a worker's clock.
local function moved_message(id, stream, record)
  local due, generation = unpack(redis.call('HMGET', record, 'when', 'generation'))
  local from = string.format('%.0f', math.max((tonumber(due) or 0) - SLACK_SECONDS, 0) * 1000)
  for _ = 1, MESSAGES_MAX / PAGE_SIZE do
    local page = redis.call('XRANGE', stream, from, '+', 'COUNT', PAGE_SIZE)
    for _, message in ipairs(page) do
      local fields = by_name(message[2])
      if fields.key == id and fields.generation == generation then
        return fields
      end
    end
    if #page < PAGE_SIZE then
      return
    end
    from = '(' .. page[#page][1]
  end
end

-- A retry has a higher number of its attempt. What cannot be found counts as a retry.
local function is_retry(id, queue, stream, parked, record)
  local attempt
  if redis.call('ZSCORE', queue, id) then
    attempt = redis.call('HGET', parked, 'attempt')
  else
    local entry, waiters, waiter = unpack(redis.call('HMGET', record, 'stream_id', 'waiter_stream',
      'waiter_entry_id'))
    local message = waiters and message_at(id, waiters, waiter)
      or message_at(id, stream, entry) or moved_message(id, stream, record)
    attempt = message and message.attempt
  end
  return attempt ~= '1'
end

local function take_back(id, queue, stream, parked, record, progress, channel)
  if not waits(id, queue, stream, parked, record) then
    return false
  end
  -- Every claim leaves a progress, until the task has ended: what has none was never claimed.
  local had_fired = redis.call('EXISTS', progress) == 1
    and is_retry(id, queue, stream, parked, record)
  local entry, waiters, waiter = unpack(redis.call('HMGET', record, 'stream_id', 'waiter_stream',
    'waiter_entry_id'))
  redis.call('HSET', record, 'state', 'cancelled')
  redis.call('HDEL', record, 'known', 'stream_id', 'waiter_stream', 'waiter_entry_id')
  redis.call('PEXPIRE', record, ARGV[2])
  redis.call('DEL', progress)
  if redis.call('ZREM', queue, id) == 1 then
    redis.call('DEL', parked)
  end
  if entry then
    redis.call('XDEL', stream, entry)
  end
  if waiters then
    redis.call('XDEL', waiters, waiter)
  end
  -- A user without this channel can still cancel.
  redis.pcall('PUBLISH', channel, cjson.encode({type = 'state', key = id, state = 'cancelled'}))
  return true, had_fired
end
