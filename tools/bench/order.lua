-- wrk … -- LIMIT PRODUCT…: orders one piece of each product in turn, at most LIMIT of them, and prints JSON.

local requests = {}
local limit, sent = 0, 0

function init(arguments)
   limit = tonumber(arguments[1])
   for position = 2, #arguments do
      local body = string.format('{"productId":%s,"quantity":1}', arguments[position])
      requests[position - 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
   end
end

function request()
   sent = sent + 1
   if sent == limit then
      wrk.thread:stop()
      io.popen("kill -INT $PPID"):close() -- wrk itself would sleep on until its time is over
   end
   return requests[sent % #requests + 1]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests":%d,"microseconds":%d,"failures":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d},',
      summary.requests, summary.duration, errors.connect, errors.read, errors.write, errors.timeout, errors.status
   ))
   io.write(string.format(
      '"latency":{"p50":%d,"p90":%d,"p95":%d,"p99":%d,"max":%d}}\n',
      latency:percentile(50), latency:percentile(90), latency:percentile(95), latency:percentile(99), latency.max
   ))
end
