-- label, milliseconds to remember it; answers how many runs and values there were
return once(function()
  local label, count = prefix .. 'label:' .. ARGV[3], 0
  redis.call('SET', prefix .. 'purged:' .. ARGV[3], '', 'PX', ARGV[4])
  for _, member in ipairs(redis.call('ZRANGE', label, 0, -1)) do
    count = count + redis.call('DEL', prefix .. member)
    local id = string.match(member, '^run:(.*)$')
    if id then
      local run, entries, steps = keys(id)
      redis.call('ZREM', leases, id)
      redis.call('DEL', entries, steps)
      redis.call('PUBLISH', run, '')
    end
  end
  redis.call('DEL', label)
  return count
end)
