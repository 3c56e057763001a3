/** A council without models: what its roles say depends on the question only, so that anybody can foresee it.
 *
 * Real roles call a language model; these stand in their place. The hash of the question decides in which round they
 * agree: 78 % in the first, 19 % in the second, the rest in the third or never (docs/GLOSSARY.md).
 */

import { createHash } from "node:crypto";
import { ARBITER, ROUNDS_MAX, roundOf, type Opinion, type Session } from "./consensus.ts";

export type Role = (session: Session) => Promise<Opinion>;

const AGREED_BY_ROUND = [0.78, 0.97, 0.99];
const [SURE_SHARE, UNSURE_SHARE, ARBITER_SHARE] = [0.92, 0.7, 0.75];
/** A question with this word meets a veto in every round. */
const VETO_WORD = "forbidden";

function agreedInRound(prompt: string): number {
  const digest = createHash("sha256").update(prompt).digest();
  const chance = Number(digest.readBigUInt64BE(0)) / 2 ** 64;
  return 1 + AGREED_BY_ROUND.filter((share) => chance >= share).length;
}

function opinion(session: Session, role: string, said: Partial<Opinion>): Opinion {
  const round = roundOf(session);
  const share = round >= agreedInRound(session.prompt) ? SURE_SHARE : UNSURE_SHARE;
  return { round_index: round, role, confidence_share: share, text: "", has_veto: false, sources: [], ...said };
}

export const COUNCIL: Record<string, Role> = {
  pathos: async (session) => opinion(session, "pathos", { text: `asked: ${[...session.prompt].slice(0, 80).join("")}` }),
  logos: async (session) => {
    const adapter = session.lora_id ? ` with ${session.lora_id}` : "";
    const round = roundOf(session);
    return opinion(session, "logos", { text: `answer ${round}${adapter}`, sources: [`round-${round}`] });
  },
  ethos: async (session) => {
    const hasVeto = session.prompt.includes(VETO_WORD);
    return opinion(session, "ethos", { text: hasVeto ? "no" : "verified", has_veto: hasVeto });
  },
  [ARBITER]: async (session) => {
    const text = session.prompt.includes(VETO_WORD) ? "no answer: vetoed" : `decided after ${ROUNDS_MAX} rounds`;
    return opinion(session, ARBITER, { confidence_share: ARBITER_SHARE, text });
  },
};
