-- key, value, milliseconds to keep it, 'NX' where it must be new, labels; answers -1 where one of them was purged
local key = prefix .. 'value:' .. ARGV[3]
return once(function()
  if ARGV[6] == 'NX' and redis.call('EXISTS', key) == 1 then
    return 0
  end
  if not label(ARGV[7], 'value:' .. ARGV[3], math.floor(now() / 1000) + ARGV[5]) then
    return -1
  end
  redis.call('SET', key, ARGV[4], 'PX', ARGV[5])
  return 1
end)
