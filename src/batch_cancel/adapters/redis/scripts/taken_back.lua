-- Guarantees: 1 if any operation took the start back, fired before or not; it changes nothing.
for _, answer in ipairs(redis.call('HVALS', KEYS[1])) do
  if answer == '1' or answer == '2' then
    return 1
  end
end
return 0
