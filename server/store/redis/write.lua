-- id, holder, number, milliseconds to keep it from now on ('' for a run that goes on), whether there is a body, the
-- body, the number of the first entry ('' for whatever comes next), how many steps, the steps, the entries
local id, finished, steps_end = ARGV[3], ARGV[6], 10 + ARGV[10]
local run, entries, steps = keys(id)
return once(function()
  if not held(id, ARGV[4], ARGV[5]) then
    return 0
  end
  if ARGV[7] == '1' then
    redis.call('HSET', run, 'body', ARGV[8])
  end
  for i = 11, steps_end do
    redis.call('RPUSH', steps, ARGV[i])
  end
  local length = redis.call('XLEN', entries)
  local there = ARGV[9] == '' and 0 or length - ARGV[9]
  for i = steps_end + 1 + there, #ARGV do
    length = length + 1
    redis.call('XADD', entries, length .. '-0', '', ARGV[i])
  end
  if finished ~= '' then
    redis.call('HSET', run, 'done', 1, 'holder', '')
    redis.call('ZREM', leases, id)
    local ends = math.floor(now() / 1000) + finished
    label(redis.call('HGET', run, 'labels') or '[]', 'run:' .. id, ends)
    for _, key in ipairs({run, entries, steps}) do
      redis.call('PEXPIREAT', key, ends)
    end
  end
  if finished ~= '' or #ARGV > steps_end then
    redis.call('PUBLISH', run, '')
  end
  return 1
end)
