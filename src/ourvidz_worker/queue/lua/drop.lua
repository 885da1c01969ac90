-- A claimed element that names no job: a dead letter, and gone.
local entry, fence, letter = ARGV[3], ARGV[4], ARGV[5]
local kept = redis.call('HMGET', ENTRY .. entry, 'fence', 'owner', 'lane', 'list')
if kept[1] ~= fence or kept[2] ~= pod then return 0 end
add_letter(kept[4], letter)
drop_entry(entry, kept[3])
return 1
