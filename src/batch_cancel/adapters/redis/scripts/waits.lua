-- Guarantees, for the recipe before it: those of the ids whose start waits; it changes nothing.
--
-- A recipe defines waits(id, its keys ...). KEYS are those of the first id, of the second, and so on.
local waiting = {}
local keys_each = #KEYS / #ARGV
for i, id in ipairs(ARGV) do
  if waits(id, unpack(KEYS, (i - 1) * keys_each + 1, i * keys_each)) then
    waiting[#waiting + 1] = id
  end
end
return waiting
