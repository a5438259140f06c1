-- id, holder, lease in microseconds, milliseconds to keep it ('' for a run that goes on), then fields and values
local id, holder, lease, seconds = ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local run, entries, steps = keys(id)
return once(function()
  if seconds == '' then
    if redis.call('EXISTS', run) == 1 then
      return 0
    end
    redis.call('ZADD', leases, now() + lease, id)
  else
    redis.call('DEL', run, entries, steps)
    redis.call('ZREM', leases, id)
    redis.call('PUBLISH', run, '')
  end
  redis.call('HSET', run, 'holder', holder, 'number', 1, 'done', seconds == '' and 0 or 1, unpack(ARGV, 7))
  if seconds ~= '' then
    redis.call('PEXPIRE', run, seconds)
  end
  return 1
end)
