-- A part of a list, without what is too long to be of it: that is taken off.
-- KEYS: the list. ARGV: where to begin, how many, the longest member.
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then
  return {'', 0}
end
local members = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], '+', 'LIMIT', 0, ARGV[2])
local found = {members[#members] and string.sub(members[#members], 1, ARGV[3]) or '', #members}
for _, member in ipairs(members) do
  if #member > tonumber(ARGV[3]) then
    redis.call('ZREM', KEYS[1], member)
  else
    found[#found + 1] = member
  end
end
return found
