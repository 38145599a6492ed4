-- Guarantees: 1 if any operation was told that it took the start back; it changes nothing.
for _, answer in ipairs(redis.call('HVALS', KEYS[1])) do
  if answer == '1' then
    return 1
  end
end
return 0
