/**
 * A code agent of Tenure: an object whose functions are the lifecycle hooks, and calls that its host judges and records.
 *
 *     import { Agent } from "./tenure_agent/index.ts";
 *
 *     const agent = new Agent({ message: (message) => `Hello, ${message.input}` });
 *     await agent.run();
 *
 * Hooks are asked one after another, health alone beside them. `console.log` is the agent's log: stdout belongs to the protocol.
 * Runs as it stands under Node 22.18 or later; nothing but Node is needed.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { createInterface } from "node:readline";

export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
export type Fields = { [name: string]: Json };

/** What the agent is asked to do. The same `id` may come again: the program was lost, and it is the same message. */
export interface Message {
  readonly id: string;
  /** What the execution was given; null where a schedule started it. */
  readonly input: unknown;
  /** What the manifest's template makes of it. */
  readonly prompt?: string;
  readonly attempt: number;
  /** Aborted once nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** Who the agent is, as it is told by `init`. */
export interface Hello {
  agent: string;
  version: string;
  instance: string;
  provides: string[];
  deadlines: { [hook: string]: number };
}

export interface Health {
  status: "healthy" | "warning" | "critical";
  errors?: Json[];
  [figure: string]: Json | undefined;
}

type Answer = Json | void | Promise<Json | void>;

/** What one returns is its answer; what one throws is its error. All but `message` may be left out. */
export interface Hooks {
  init?(hello: Hello): Answer;
  /** Messages follow. */
  start?(): Answer;
  message(message: Message): Answer;
  /** Asked also while a message is handled. */
  health?(): Health | Promise<Health>;
  upgrade?(from: string): Answer;
  /** All that a successor needs; it is given to its `restore`. */
  save?(): Answer;
  restore?(state: Json): Answer;
  error?(error: Fields, message: string | undefined): Answer;
  /** The program ends once this is done. */
  shutdown?(why: string): Answer;
}

/** The host did not do what was asked: a policy, a limit, or a wrong argument. `problem` is its answer, whole. */
export class Refused extends Error {
  readonly code: number;
  readonly problem: Json;
  constructor(message: string, code: number, problem: Json) {
    super(message);
    this.name = "Refused";
    this.code = code;
    this.problem = problem;
  }
}

/** Nobody waits any more for the hook that is at work. */
export class Cancelled extends Error {
  constructor() {
    super("nobody waits for this any more");
    this.name = "Cancelled";
  }
}

/** Values by key: what the agent keeps (`state`), or its memory by the manifest's kind (`memory`). */
export interface Store {
  /** The value, as it was kept. */
  get(key: string, more?: Fields): Promise<Json>;
  set(key: string, value: Json, more?: Fields): Promise<Json>;
  delete(key: string, more?: Fields): Promise<Json>;
  list(more?: Fields): Promise<Json>;
}

/** Messages to other agents, as the capabilities of the same names. */
export interface Comms {
  send(to: string, message: Json, more?: Fields): Promise<Json>;
  publish(channel: string, message: Json, more?: Fields): Promise<Json>;
  receive(more?: Fields): Promise<Json>;
  reply(id: string, message: Json): Promise<Json>;
}

type Request = { id: number; method: string; params?: Fields };
type RpcError = { code: number; message: string; data?: Json };
type Waiting = { resolve: (result: Json) => void; reject: (error: Error) => void };
type Work = { id: number; abort: AbortController; message: string | undefined; ordinal: number };

const UNKNOWN_METHOD = -32601;
const FAILED = -32000;
const OPTIONAL = new Set(["health", "upgrade", "save", "restore", "error"]);

/** Of a call: what came of it, without what stands beside it. */
function resultOf(answer: Json): Json {
  const isCall = answer !== null && typeof answer === "object" && !Array.isArray(answer) && "call" in answer;
  return isCall ? (answer["result"] ?? null) : answer;
}

export class Agent {
  hello: Hello | undefined;
  readonly state: Store = this.#store("state");
  readonly memory: Store = this.#store("memory");
  readonly comms: Comms = {
    send: (to, message, more = {}) => this.invoke("comms.send", { to, message, ...more }),
    publish: (channel, message, more = {}) => this.invoke("comms.publish", { channel, message, ...more }),
    receive: (more = {}) => this.invoke("comms.receive", more),
    reply: (id, message) => this.invoke("comms.reply", { id, message }),
  };
  readonly #hooks: Hooks;
  readonly #write = process.stdout.write.bind(process.stdout);
  readonly #waiting = new Map<number, Waiting>();
  readonly #works = new AsyncLocalStorage<Work>();
  readonly #open = new Map<number, Work>();
  #last = 0;

  constructor(hooks: Hooks) {
    this.#hooks = hooks;
  }

  /** One call of a capability: judged, recorded, and done once for each message, however often that is delivered. */
  async invoke(capability: string, args: Fields = {}): Promise<Json> {
    return resultOf(await this.call("capability.invoke", { capability, arguments: args }));
  }

  /** Asks the agent's model. */
  generate(prompt: string | undefined, more: Fields = {}): Promise<Json> {
    return this.call("model.generate", { ...(prompt === undefined ? {} : { prompt }), ...more });
  }

  log(text: string, level: "debug" | "info" | "warn" | "error" = "info"): void {
    this.#say({ method: "log", params: { level, text } });
  }

  /** One request of the host, and its answer whole; what the methods above are made of. */
  call(method: string, params: Fields): Promise<Json> {
    const work = this.#works.getStore();
    if (work?.abort.signal.aborted) return Promise.reject(new Cancelled());
    const id = ++this.#last;
    if (work?.message !== undefined) params = { ...params, message: work.message, ordinal: ++work.ordinal };
    return new Promise<Json>((resolve, reject) => {
      const cancel = () => {
        this.#waiting.delete(id);
        reject(new Cancelled());
      };
      const done = () => work?.abort.signal.removeEventListener("abort", cancel);
      work?.abort.signal.addEventListener("abort", cancel, { once: true });
      this.#waiting.set(id, {
        resolve: (result) => (done(), resolve(result)),
        reject: (error) => (done(), reject(error)),
      });
      this.#say({ id, method, params });
    });
  }

  /** Serves the host until it says `shutdown` or is gone. */
  async run(): Promise<void> {
    process.stdout.write = process.stderr.write.bind(process.stderr) as typeof process.stdout.write;
    let last: Promise<void> = Promise.resolve();
    const lines = createInterface({ input: process.stdin, crlfDelay: Infinity });
    for await (const line of lines) {
      const message = JSON.parse(line) as Partial<Request> & { result?: Json; error?: RpcError };
      if (message.method === undefined) {
        this.#hear(message.id as number, message.result ?? null, message.error);
      } else if (message.method === "cancel") {
        this.#open.get(message.params?.["id"] as number)?.abort.abort();
      } else if (message.id !== undefined) {
        const request = message as Request;
        const work: Work = { id: request.id, abort: new AbortController(), message: undefined, ordinal: 0 };
        this.#open.set(request.id, work);
        if (request.method === "health") void this.#serve(request, work);
        else last = last.then(() => this.#serve(request, work));
        if (request.method === "shutdown") void last.then(() => lines.close());
      }
    }
    await last;
    process.stdin.destroy();
  }

  #store(group: string): Store {
    const ask = async (word: string, params: Fields) => resultOf(await this.call(`${group}.${word}`, params));
    return {
      get: (key, more = {}) => ask("get", { key, ...more }),
      set: (key, value, more = {}) => ask("set", { key, value, ...more }),
      delete: (key, more = {}) => ask("delete", { key, ...more }),
      list: (more = {}) => ask("list", more),
    };
  }

  #hear(id: number, result: Json, error: RpcError | undefined | null): void {
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Refused(error.message, error.code, error.data ?? null));
    else waiting?.resolve(result);
  }

  async #serve(request: Request, work: Work): Promise<void> {
    const { id, method, params = {} } = request;
    if (method === "message") work.message = params["id"] as string;
    try {
      if (work.abort.signal.aborted) return;
      const hook = this.#hooks[method as keyof Hooks];
      if (hook === undefined && (OPTIONAL.has(method) || !["init", "start", "shutdown"].includes(method))) {
        this.#say({ id, error: { code: UNKNOWN_METHOD, message: `this agent has no hook \`${method}\`` } });
        return;
      }
      const result = await this.#works.run(work, () => this.#answer(method, params, work.abort.signal));
      this.#say({ id, result: (result ?? null) as Json });
    } catch (error) {
      console.error(error);
      const { name, message } = error instanceof Error ? error : { name: "Error", message: String(error) };
      this.#say({ id, error: { code: FAILED, message: message || name, data: { type: name } } });
    } finally {
      this.#open.delete(id);
    }
  }

  async #answer(method: string, params: Fields, signal: AbortSignal): Promise<unknown> {
    const hooks = this.#hooks;
    switch (method) {
      case "init":
        this.hello = params as unknown as Hello;
        return hooks.init?.(this.hello);
      case "start":
        return hooks.start?.();
      case "message":
        return hooks.message({ ...(params as { id: string; input: unknown; prompt?: string; attempt: number }), signal });
      case "health":
        return hooks.health?.();
      case "upgrade":
        return hooks.upgrade?.(params["from"] as string);
      case "save":
        return hooks.save?.();
      case "restore":
        return hooks.restore?.(params["state"] ?? null);
      case "error":
        return hooks.error?.(params["error"] as Fields, params["message"] as string | undefined);
      case "shutdown":
        return hooks.shutdown?.((params["why"] as string | undefined) ?? "");
      default:
        throw new Error(`\`${method}\` is no hook`);
    }
  }

  #say(message: { [name: string]: unknown }): void {
    this.#write(`${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`);
  }
}
