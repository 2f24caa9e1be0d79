-- POST the body given after `--`, with the headers given by -H.
function init(args)
  wrk.method = "POST"
  wrk.body = args[1]
end
