-- Guarantees, for the recipe before it: a sentence for each of the library's keys that is of another
-- kind than ARGV says, and what the recipe finds odd; it changes nothing.
--
-- A recipe may define oddity(its keys ...): a sentence, or nil.
local odd = {}
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and not string.find(' ' .. ARGV[i] .. ' ', ' ' .. kind .. ' ', 1, true) then
    odd[#odd + 1] = key .. ' is a ' .. kind .. ', where a ' .. ARGV[i] .. ' is expected: another '
      .. 'program uses this key, or another version of the library'
  end
end
if #odd == 0 and oddity then
  odd[1] = oddity(unpack(KEYS))
end
return odd
