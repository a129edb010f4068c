"""Tenure as a client, for the protocol's own conformance suite: it starts this program with the address of a server, which an agent
is given as one of its MCP servers. All that the server has is asked for through the gateway, so that each request that the suite
sees was made by Tenure's own client, behind the agent's egress."""
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from urllib.parse import urlsplit

TENURE, ADDRESS, URL = sys.argv[1], sys.argv[2], sys.argv[-1]
NAME = f"suite-{os.getpid()}"


def tenure(*words):
    done = subprocess.run([TENURE, *words, "-o", "json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


place = urlsplit(URL).netloc.replace("localhost", "127.0.0.1")
MANIFEST = {
    "apiVersion": "tenure.dev/v1", "kind": "Agent", "metadata": {"name": NAME, "version": "1.0.0"},
    "spec": {"task": {"instruction": "-"}, "tools": [{"name": "far", "url": URL.replace("localhost", "127.0.0.1")}],
             "security": {"network": {"mode": "allow", "allowlist": [place]}}},
}
with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
    json.dump(MANIFEST, file)
    file.flush()
    tenure("agent", "deploy", file.name)
KEY, SESSION = tenure("agent", "rotate", NAME)["secret"], None


def ask(method, params):
    global SESSION
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(f"http://{ADDRESS}/mcp/far", body)
    request.add_header("Authorization", "Bearer " + KEY)
    request.add_header("Content-Type", "application/json")
    request.add_header("Accept", "application/json, text/event-stream")
    if SESSION:
        request.add_header("Mcp-Session-Id", SESSION)
    with urllib.request.urlopen(request, timeout=60) as answer:
        SESSION = answer.headers["Mcp-Session-Id"] or SESSION
        answer = json.load(answer)
    print(method, json.dumps(answer)[:2000], file=sys.stderr)
    return answer.get("result", {})


def sample(schema):
    kinds = {"string": "x", "number": 5, "integer": 5, "boolean": True, "array": [], "object": {}}
    if "enum" in schema:
        return schema["enum"][0]
    return kinds.get(schema.get("type"), "x")


ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}})
for tool in ask("tools/list", {}).get("tools", []):
    if tool["name"] != "tenure.call_result":
        properties = tool["inputSchema"].get("properties", {})
        ask("tools/call", {"name": tool["name"], "arguments": {name: sample(of) for name, of in properties.items()}})
for resource in ask("resources/list", {}).get("resources", []):
    ask("resources/read", {"uri": resource["uri"]})
for prompt in ask("prompts/list", {}).get("prompts", []):
    given = {argument["name"]: "x" for argument in prompt.get("arguments", [])}
    ask("prompts/get", {"name": prompt["name"], "arguments": given})
