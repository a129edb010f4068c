"""A code agent with nothing but the standard library, which does what its messages say."""
import json
import os
import sys
import time

out, sys.stdout = sys.stdout, sys.stderr
count = 0


def say(message):
    out.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    out.flush()


def call(method, **params):
    global count
    count += 1
    own = f"c{count}"
    say({"id": own, "method": method, "params": params})
    for line in sys.stdin:
        answer = json.loads(line)
        if answer.get("id") == own:
            return answer.get("result", answer.get("error"))


def message(told):
    text = told["input"] if isinstance(told["input"], str) else json.dumps(told["input"])
    word, _, rest = text.partition(" ")
    here = {"message": told["id"], "ordinal": 1}
    if word == "write":
        return call("capability.invoke", capability="filesystem.write", arguments={"path": "made.txt", "content": rest}, **here)
    if word == "append":
        call("capability.invoke", capability="filesystem.append", arguments={"path": "log.txt", "content": f"{rest}\n"}, **here)
        time.sleep(float(os.environ.get("PAUSE", "3")))
        return f"appended {rest}"
    if word == "fetch":
        return call("capability.invoke", capability="network.http_request", arguments={"url": "http://a.example/"}, **here)
    if word == "keep":
        call("state.set", key="kept", value=rest, **here)
        return call("state.get", key="kept")
    if word == "model":
        return call("model.generate", prompt=rest)
    if word == "die":
        sys.exit(3)
    if word == "fail":
        raise ValueError(rest)
    return f"heard {text}"


for line in sys.stdin:
    asked = json.loads(line)
    own, hook = asked.get("id"), asked.get("method")
    if own is None or hook is None:
        continue
    with open("hooks.txt", "a") as hooks:
        hooks.write(hook + "\n")
    try:
        if hook == "message":
            say({"id": own, "result": message(asked["params"])})
        elif hook == "health":
            say({"id": own, "result": {"status": "warning", "memoryUsage": 1, "errors": [{"type": "slow", "count": 1}]}})
        elif hook in ("init", "start", "shutdown"):
            if os.path.exists(f"no_{hook}"):
                raise ValueError(f"{hook} is to fail")
            say({"id": own, "result": {}})
        else:
            say({"id": own, "error": {"code": -32601, "message": "there is no such hook"}})
    except ValueError as error:
        say({"id": own, "error": {"code": 1, "message": str(error)}})
    if hook == "shutdown":
        break
