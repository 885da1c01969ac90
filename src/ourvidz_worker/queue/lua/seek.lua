-- Waiting elements in which a text occurs, at most eight: list, entry and bytes of each.
local wanted, found, page = ARGV[3], {}, 500
for _, list in ipairs(LISTS) do
  for first = 0, redis.call('LLEN', list) - 1, page do
    for _, raw in ipairs(redis.call('LRANGE', list, first, first + page - 1)) do
      if #found < 8 and string.find(raw, wanted, 1, true) then
        found[#found + 1] = {list, redis.sha1hex(raw), raw}
      end
    end
  end
end
return found
