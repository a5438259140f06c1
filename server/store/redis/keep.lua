-- id, holder, lease in microseconds, milliseconds to keep it ('' for a run that goes on), labels, then fields and values;
-- answers 0 where the id is taken, -1 where a label was purged
local id, holder, lease, seconds = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local run, entries, steps = keys(id)
return once(function()
  if seconds == '' then
    if redis.call('EXISTS', run) == 1 then
      return 0
    end
    if not label(ARGV[7], 'run:' .. id, '+inf') then
      return -1
    end
    redis.call('ZADD', leases, now() + lease, id)
  else
    unlabel(run, id)
    if not label(ARGV[7], 'run:' .. id, math.floor(now() / 1000) + seconds) then
      return -1
    end
    redis.call('DEL', run, entries, steps)
    redis.call('ZREM', leases, id)
    redis.call('PUBLISH', run, '')
  end
  redis.call('HSET', run, 'holder', holder, 'number', 1, 'done', seconds == '' and 0 or 1, 'labels', ARGV[7], unpack(ARGV, 8))
  if seconds ~= '' then
    redis.call('PEXPIRE', run, seconds)
  end
  return 1
end)
