#!/usr/bin/env python3
"""Stands in for tenure-local-model: speaks its protocol and does what the question says."""
import json, os, socket, sys, time

weights = sys.argv[sys.argv.index("--model") + 1]
diary = open(os.path.join(os.path.dirname(weights), "diary"), "a", buffering=1)
seen = sorted(name for name in os.environ if name not in ("LC_CTYPE", "PWD", "SHLVL", "_"))
diary.write(f"start {seen}\n")
wire = socket.socket(fileno=0)


def send(**event):
    wire.sendall((json.dumps(event) + "\n").encode())


if open(weights).read() == "unloadab":
    send(type="unloadable", kind="file", message="no GGUF file")
    sys.exit(1)
send(type="hello", protocol=1, version="0", model="stand-in", context_tokens=100, threads=1, load_ms=1)
usage = {"prompt_tokens": 5, "cached_tokens": 3, "completion_tokens": 2}
timings = {"waited_ms": 0, "prompt_ms": 0, "answer_ms": 0}
asleep = None
for line in wire.makefile("r"):
    request = json.loads(line)
    if request["type"] == "cancel":
        diary.write(f"cancel {request['id']}\n")
        if asleep == request["id"]:
            send(type="failed", id=asleep, kind="cancelled", message="cancelled", usage=usage)
        continue
    number, text = request["id"], request["messages"][-1]["content"]
    diary.write(f"asked {text}\n")
    if text == "die":
        sys.stderr.write("first words\nlast words\n")
        sys.exit(3)
    elif text == "garbage":
        wire.sendall(b"no json\n")
    elif text.startswith("sleep"):
        asleep = number
    elif text.startswith("fail"):
        send(type="failed", id=number, kind=text.split()[1], message="no", usage=usage)
    elif text == "call":
        call = {"name": "filesystem.read", "arguments": {"path": "a"}}
        send(type="done", id=number, outcome={"kind": "calls", "calls": [call, call]}, usage=usage, timings=timings)
    else:
        send(type="text", id=number, part="answer", piece="you said ")
        send(type="text", id=number, part="calls", piece="{raw")
        answer = {"kind": "answer", "text": f"you said {text}"}
        send(type="done", id=number, outcome=answer, usage=usage, timings=timings)
diary.write("socket ended\n")
