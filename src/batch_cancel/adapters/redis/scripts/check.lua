-- Guarantees: what the server says of itself, and for each of the commands, which the file before
-- this lists, the first line of why it is refused; nothing is changed, for no id is empty.
local told = {}
for i, section in ipairs({'server', 'replication', 'memory'}) do
  local info = redis.pcall('INFO', section)
  told[i] = type(info) == 'table' and '' or info
end

local refused = {}
for _, command in ipairs(commands) do
  local answer = redis.pcall(unpack(command))
  if type(answer) == 'table' and answer.err then
    refused[#refused + 1] = answer.err
  end
end
return {table.concat(told, '\n'), refused}
