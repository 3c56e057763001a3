/** The synapse: an object in which a council answers one question after the other, and others listen.
 *
 * Whatever was said is stored, one row each, before anybody hears of it. An alarm watches over a running session: when the
 * object was evicted under it, the alarm takes it up where it was. A listener that reconnects says the number of the last
 * entry that it has and is sent the rest. Sockets hibernate.
 */

import { DurableObject } from "cloudflare:workers";
import { HttpError, RequestError } from "../errors.ts";
import { errorResponse, json } from "../messages.ts";
import * as validation from "../validation.ts";
import { ROLES, ROUNDS_MAX, nextStep, responseOf, roundOf, sessionScore, withOpinion } from "./consensus.ts";
import type { Opinion, Question, Session } from "./consensus.ts";
import { COUNCIL } from "./council.ts";

const PROMPT_CHARACTERS_MAX = 100_000;
const PROTOCOL_VERSION = 1;
/** How long a session may be silent before the alarm takes it up: a role answers in less. */
const WATCH_MS = 20_000;
const SCHEMA = `
CREATE TABLE IF NOT EXISTS session (
  id INTEGER PRIMARY KEY CHECK (id = 1), request TEXT NOT NULL, status TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS entries (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, content TEXT NOT NULL
);
`;

export class CloudSynapse extends DurableObject {
  private isRunning = false;
  private readonly sql: SqlStorage;

  constructor(state: DurableObjectState, env: unknown) {
    super(state, env as never);
    this.sql = state.storage.sql;
    this.sql.exec(SCHEMA);
  }

  override async fetch(request: Request): Promise<Response> {
    try {
      const path = new URL(request.url).pathname;
      if (path === "/state") return json({ success: true, ...this.told(this.session()) });
      if (path === "/consensus") return await this.consensus(await request.bytes());
      if (path === "/socket") return this.accept(request);
      throw new RequestError(404, "not_found", `the synapse has no route ${path.slice(0, 80)}`);
    } catch (error) {
      return errorResponse(error);
    }
  }

  override async alarm(): Promise<void> {
    if (!this.isRunning) await this.run();
  }

  /** Send what a listener missed: {"type": "resume", "after": 7}. */
  override async webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void> {
    let after: number;
    try {
      const asked = validation.jsonObject(typeof message === "string" ? message : new Uint8Array(message));
      if (asked["type"] !== "resume") throw new RequestError(400, "bad_field", "type must be 'resume'");
      after = validation.wholeNumber("after", asked["after"], 2 ** 53);
    } catch (error) {
      const { code, message: said } = error as HttpError;
      socket.send(JSON.stringify({ type: "error", code, message: said }));
      return;
    }
    for (const row of this.sql.exec("SELECT seq, kind, content FROM entries WHERE seq > ? ORDER BY seq", after)) {
      const content = JSON.parse(String(row["content"])) as object;
      socket.send(JSON.stringify({ type: row["kind"], seq: row["seq"], ...content }));
    }
  }

  override async webSocketClose(socket: WebSocket, code: number): Promise<void> {
    try {
      socket.close(code);
    } catch {
      // A code that only the protocol itself may send (1005, 1006) cannot be answered in kind.
      socket.close();
    }
  }

  private async consensus(body: Uint8Array): Promise<Response> {
    const asked = readQuestion(body);
    const session = this.session();
    if (session?.request_id === asked.request_id) {
      if (session.prompt !== asked.prompt || session.lora_id !== asked.lora_id) {
        throw new RequestError(409, "request_id_reused", `request_id=${asked.request_id} asked something else`);
      }
    } else if (session?.status === "running") {
      const message = `${session.request_id} is not answered yet; ask again later`;
      throw new RequestError(409, "consensus_running", message);
    } else this.begin(asked);
    if (!this.isRunning) await this.run();
    const after = this.session();
    return json({ success: true, ...this.told(after) }, after?.status === "running" ? 202 : 200);
  }

  private begin(asked: Question): void {
    this.ctx.storage.transactionSync(() => {
      // The entries of the session before are forgotten, their numbers never used again.
      this.sql.exec("DELETE FROM entries");
      this.sql.exec("INSERT OR REPLACE INTO session VALUES (1, ?, 'running')", JSON.stringify(asked));
      this.tell("question", asked);
    });
  }

  private async run(): Promise<void> {
    this.isRunning = true;
    try {
      for (;;) {
        const session = this.session();
        const role = session && nextStep(session);
        if (!session || !role) break;
        await this.ctx.storage.setAlarm(Date.now() + WATCH_MS);
        const opinion = await COUNCIL[role]!(session);
        this.note(withOpinion(session, opinion), opinion);
      }
    } finally {
      this.isRunning = false;
    }
    await this.ctx.storage.deleteAlarm();
  }

  private note(session: Session, opinion: Opinion): void {
    this.ctx.storage.transactionSync(() => {
      this.tell("opinion", opinion);
      if (opinion.role === ROLES[2]) {
        this.tell("round", { round_index: opinion.round_index, score_share: sessionScore(session) });
      }
      if (session.status !== "running") {
        this.sql.exec("UPDATE session SET status = ?", session.status);
        this.tell("result", this.told(session));
      }
    });
  }

  /** Store an entry and send it to everybody who listens; the output gate holds it until it is durable. */
  private tell(kind: string, content: object): void {
    const insert = "INSERT INTO entries (kind, content) VALUES (?, ?) RETURNING seq";
    const { seq } = this.sql.exec(insert, kind, JSON.stringify(content)).one();
    for (const socket of this.ctx.getWebSockets()) socket.send(JSON.stringify({ type: kind, seq, ...content }));
  }

  private session(): Session | null {
    const row = this.sql.exec("SELECT request, status FROM session").toArray()[0];
    if (!row) return null;
    const said = this.sql.exec("SELECT content FROM entries WHERE kind = 'opinion' ORDER BY seq").toArray();
    const opinions = said.map(({ content }) => JSON.parse(String(content)) as Opinion);
    return { ...(JSON.parse(String(row["request"])) as Question), opinions, status: row["status"] as Session["status"] };
  }

  private told(session: Session | null): object {
    if (!session) return { status: "idle" };
    const { seq } = this.sql.exec("SELECT coalesce(max(seq), 0) AS seq FROM entries").one();
    return {
      status: session.status,
      request_id: session.request_id,
      rounds: Math.min(roundOf(session) - (session.status === "agreed" ? 1 : 0), ROUNDS_MAX),
      score_share: sessionScore(session),
      response: responseOf(session),
      sources: [...new Set(session.opinions.flatMap((opinion) => opinion.sources))],
      last_seq: seq,
    };
  }

  private accept(request: Request): Response {
    checkUpgrade(request);
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server);
    server.send(JSON.stringify({ type: "hello", version: PROTOCOL_VERSION, ...this.told(this.session()) }));
    return new Response(null, { status: 101, webSocket: client });
  }
}

/** Check that a request asks for a WebSocket of the one version that there is. */
export function checkUpgrade(request: Request): void {
  if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
    throw new RequestError(426, "upgrade_required", "this route is a WebSocket; send 'upgrade: websocket'");
  }
  const [version, key] = ["sec-websocket-version", "sec-websocket-key"].map((name) => request.headers.get(name));
  if (version !== "13" || !key) {
    throw new RequestError(400, "bad_handshake", "a WebSocket's handshake has version 13 and a key");
  }
}

/** Read the body of POST /consensus; every field is checked. */
export function readQuestion(body: Uint8Array): Question {
  const fields = validation.jsonObject(body);
  validation.knownFields(fields, ["request_id", "prompt", "lora_id"]);
  const request_id = validation.name("request_id", fields["request_id"]);
  const prompt = validation.text("prompt", fields["prompt"], PROMPT_CHARACTERS_MAX);
  const lora = fields["lora_id"] ?? null;
  return { request_id, prompt, lora_id: lora === null ? null : validation.name("lora_id", lora) };
}
