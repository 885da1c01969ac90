-- Elements that another worker moved aside (Q-5): list and bytes of each, a hundred a list.
local found = {}
for _, list in ipairs(LISTS) do
  for _, raw in ipairs(redis.call('LRANGE', list .. ':processing', 0, 99)) do
    found[#found + 1] = {list, redis.sha1hex(raw), raw}
  end
end
return found
