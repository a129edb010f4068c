"""The Python SDK 2.x against the gateway: lists, calls, is refused, waits for a person. What it saw is its last line, in JSON."""
import asyncio
import json
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL, KEY = sys.argv[1:]


def words(result):
    return result.content[0].text


async def main():
    http = httpx2.AsyncClient(headers={"Authorization": "Bearer " + KEY}, timeout=60)
    async with http, Client(streamable_http_client(URL, http_client=http)) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        echo = await client.call_tool("mcp.post.echo", {"text": "hello"})
        refused = await client.call_tool("mcp.next.add", {"a": 1, "b": 1})
        held = await client.call_tool("mcp.post.send", {"to": "a@example.com"})
        call = held.structured_content["call"]
        print(held.structured_content["approval"], flush=True)
        sys.stdin.readline()
        sent = await client.call_tool("tenure.call_result", {"call": call, "wait_ms": 20000})
        resources = len((await client.list_resources()).resources)
        prompt = await client.get_prompt("post.greet", {"who": "Ada"})
        protocol = client.protocol_version
    print(json.dumps({
        "protocol": protocol, "tools": tools, "echo": words(echo), "refused": refused.is_error,
        "sent": words(sent), "resources": resources, "prompt": prompt.messages[0].content.text}))


asyncio.run(main())
