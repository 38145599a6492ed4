-- Guarantees: what the server tells of itself, and for each kind of write that the other scripts
-- make, the first line of why it is refused; nothing is changed, for no id is empty.
local due, job = KEYS[1], KEYS[2]

local told = {}
for i, section in ipairs({'server', 'replication', 'memory'}) do
  local info = redis.pcall('INFO', section)
  told[i] = type(info) == 'table' and '' or info
end

local refused = {}
for _, write in ipairs({
  {'ZADD', due, 'XX', 0, ''}, {'ZREM', due, ''}, {'HDEL', job, ''},
}) do
  local answer = redis.pcall(unpack(write))
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = answer.err
  end
end
return {table.concat(told, '\n'), refused}
