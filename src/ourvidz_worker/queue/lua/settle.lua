-- End a job, with all of its end. Asked again with the same nonce, it has ended already.
local id, fence, nonce, status, at = ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local ending, body, letter, result = ARGV[8], ARGV[9], ARGV[10], ARGV[11]
if redis.call('HGET', JOB .. id, 'ended') == nonce then return 1 end
local entry, lane = held(id, fence)
if not entry then return 0 end
local list = redis.call('HGET', ENTRY .. entry, 'list') or LIST_OF[lane]
drop_entry(entry, lane)
redis.call('HSET', JOB .. id, 'end', ending)
finish(id, status, at, nonce, body)
if letter ~= '' then add_letter(list, string.sub(letter, 2)) end
if result ~= '' then redis.call('SET', RESULT .. id, string.sub(result, 2), 'EX', RESULT_S) end
return 1
