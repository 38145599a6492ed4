-- Guarantees: a page of the ids that wait to fire, and the cursor of the next page, '0' after the
-- last; an id that waits from the first page to the last is on one of them.
local cursor, page_size = ARGV[1], ARGV[2]

local page = redis.call('ZSCAN', due, cursor, 'COUNT', page_size)
local ids = {}
for i = 1, #page[2], 2 do
  ids[#ids + 1] = page[2][i]
end
return {page[1], ids}
