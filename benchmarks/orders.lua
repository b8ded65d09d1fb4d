-- What wrk sends: "post RUN [TOKEN]" posts orders, each with a body of its own; "get FILE" reads the paths in FILE in
-- turn. It prints one line of JSON when done.
local post, run, paths
local sent = 0

local body = '{"userId":"user-%s-%08d","products":[{"productId":"product-%02d","quantity":2},' ..
             '{"productId":"product-%02d","quantity":1}],"totalAmount":200.00}'
local headers = { ["Content-Type"] = "application/json" }

function init(args)
  post = args[1] == "post"
  if post then
    run = args[2]
    if args[3] then
      headers["Authorization"] = "Bearer " .. args[3]
    end
  else
    paths = {}
    for path in io.lines(args[2]) do
      paths[#paths + 1] = path
    end
  end
end

function request()
  sent = sent + 1
  if not post then
    return wrk.format("GET", paths[sent % #paths + 1])
  end
  return wrk.format("POST", nil, headers, body:format(run, sent, sent % 100, (sent + 50) % 100))
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.3f, "p99": %.3f, "refused": %d, "failed": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
