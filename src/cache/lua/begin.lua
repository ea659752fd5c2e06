-- Makes a writer the only one, unless something newer than what it would write has been written.
-- KEYS: meta. ARGV: cluster, writer, stamp, the foreign floor that it may pass over or ''.
local held = redis.pcall('HMGET', KEYS[1], 'floor', 'revision')
if held.err then
  redis.call('UNLINK', KEYS[1])
  held = {false, false}
end
local floor = held[1]
local known = floor and #floor == 20 and not string.find(floor, '%D')
if known and floor > ARGV[3] then
  if floor ~= ARGV[4] then
    return {'newer', floor}
  end
end
if ARGV[4] ~= '' then
  -- What is there is not of this history: nobody reads it until it is all written again.
  redis.call('HDEL', KEYS[1], 'revision')
end
for _, kind in ipairs({'container', 'agent', 'engine', 'placement'}) do
  -- Only what can be counted on with; the next mark sets right what is wrong.
  local count = redis.call('HGET', KEYS[1], 'count:' .. kind)
  if not count or #count > 15 or not string.find(count, '^%-?%d+$') then
    redis.call('HSET', KEYS[1], 'count:' .. kind, 0)
  end
end
redis.call('HSET', KEYS[1], 'cluster', ARGV[1], 'writer', ARGV[2], 'floor', ARGV[3])
return {'ok'}
