-- The newest dead letters first, over all lists, in the order in which they were written.
local most, kept, letters = tonumber(ARGV[3]), {}, {}
for _, list in ipairs(LISTS) do kept[list] = redis.call('LRANGE', list .. ':dead', -most, -1) end
local order = redis.call('LRANGE', LETTERS, -most, -1)
for i = #order, 1, -1 do
  letters[#letters + 1] = table.remove(kept[order[i]])
end
-- Those that another worker wrote have no place in that order.
for _, list in ipairs(LISTS) do
  for i = #kept[list], 1, -1 do letters[#letters + 1] = kept[list][i] end
end
return letters
