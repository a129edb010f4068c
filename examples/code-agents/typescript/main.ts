/** A keeper of notes: what it is told to remember it keeps in its state, and it reads files where a policy lets it. */
import { Agent, Cancelled, Refused } from "./tenure_agent/index.ts";
import type { Fields, Json } from "./tenure_agent/index.ts";

let handled = 0;

async function answer(word: string, rest: string): Promise<Json> {
  switch (word) {
    case "remember": {
      const [key = "", ...value] = rest.split(" ");
      await agent.state.set(key, value.join(" "));
      await agent.comms.publish("notes", { kept: key });
      return `${key} is kept`;
    }
    case "recall":
      return agent.state.get(rest);
    case "read":
      return ((await agent.invoke("filesystem.read", { path: rest })) as Fields)["content"] ?? null;
    default:
      throw new Error("say `remember KEY VALUE`, `recall KEY` or `read FILE`");
  }
}

const agent = new Agent({
  init(hello) {
    agent.log(`${hello.agent} ${hello.version} is there`);
  },
  async message(message) {
    const [word = "", ...rest] = String(message.input ?? "").split(" ");
    console.log("asked to", word);
    try {
      const told = await answer(word, rest.join(" "));
      handled += 1;
      return told;
    } catch (error) {
      if (error instanceof Refused) {
        handled += 1;
        return `I may not: ${error.message}`;
      }
      if (error instanceof Cancelled) console.error("stopped", word);
      throw error;
    }
  },
  health: () => ({ status: "healthy", errors: [], handled }),
  save: () => ({ handled }),
  restore(state) {
    handled = (state as { handled: number }).handled;
  },
  shutdown(why) {
    console.log("bye:", why);
  },
});

await agent.run();
