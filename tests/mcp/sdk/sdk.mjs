// The TypeScript SDK against the gateway: lists, calls, is refused, waits for a person. What it saw is its last line, in JSON.
import { createRequire } from "node:module";
import { createInterface } from "node:readline/promises";
import { pathToFileURL } from "node:url";

const [folder, url, key] = process.argv.slice(2);
const require = createRequire(pathToFileURL(folder + "/package.json"));
const { Client } = require("@modelcontextprotocol/sdk/client/index.js");
const { StreamableHTTPClientTransport } = require("@modelcontextprotocol/sdk/client/streamableHttp.js");

const client = new Client({ name: "test", version: "1" });
const requestInit = { headers: { Authorization: "Bearer " + key } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const tools = (await client.listTools()).tools.map((tool) => tool.name);
const call = (name, given) => client.callTool({ name, arguments: given });
const echo = await call("mcp.post.echo", { text: "hello" });
const refused = await call("mcp.next.add", { a: 1, b: 1 });
const held = await call("mcp.post.send", { to: "a@example.com" });
console.log(held.structuredContent.approval);
const lines = createInterface({ input: process.stdin });
await new Promise((resolve) => lines.once("line", resolve));
lines.close();
const sent = await call("tenure.call_result", { call: held.structuredContent.call, wait_ms: 20000 });
const resources = (await client.listResources()).resources.length;
const prompt = await client.getPrompt({ name: "post.greet", arguments: { who: "Ada" } });
await client.close();
console.log(JSON.stringify({
  protocol: "2025-11-25", tools, echo: echo.content[0].text, refused: refused.isError, sent: sent.content[0].text, resources,
  prompt: prompt.messages[0].content.text,
}));
