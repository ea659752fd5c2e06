-- Lets a writer go on under a new name after its connection broke; what is still under way under the
-- old one comes to nothing.
-- KEYS: meta. ARGV: writer, new writer, the revision that it projected.
local held = redis.pcall('HMGET', KEYS[1], 'writer', 'revision')
if held.err or held[1] ~= ARGV[1] or held[2] ~= ARGV[3] then
  return {'lost'}
end
redis.call('HSET', KEYS[1], 'writer', ARGV[2])
return {'ok'}
