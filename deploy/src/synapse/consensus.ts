/** The rule by which a council agrees: weights, threshold, veto, rounds, and the arbiter at the end.
 *
 * A pure state machine: nextStep says who is to be asked, withOpinion what follows from an answer. So a council that was
 * stopped anywhere goes on from its stored session.
 */

export const ROLES = ["pathos", "logos", "ethos"] as const;
export const ARBITER = "arbiter";
const WEIGHTS: Record<string, number> = { pathos: 0.2, logos: 0.4, ethos: 0.4 };
const THRESHOLD_SHARE = 0.85;
export const ROUNDS_MAX = 3;
/** Scores are compared after rounding: three times 0.85 with these weights is 0.85 and not a little less. */
const SCORE_DIGITS = 1e9;

/** What one role said in one round. */
export interface Opinion {
  round_index: number;
  role: string;
  confidence_share: number;
  text: string;
  has_veto: boolean;
  sources: string[];
}

/** What a client asks. */
export interface Question {
  request_id: string;
  prompt: string;
  lora_id: string | null;
}

export interface Session extends Question {
  opinions: Opinion[];
  status: "running" | "agreed" | "arbitrated";
}

/** The round that is on, from 1; the arbiter speaks after the last. */
export function roundOf(session: Session): number {
  return 1 + session.opinions.filter((opinion) => opinion.role === ROLES[2]).length;
}

/** Return how far the opinions of one round agree, 0 to 1; a veto makes it 0. */
export function scoreOf(opinions: Opinion[]): number {
  if (opinions.some((opinion) => opinion.has_veto)) return 0;
  const sum = opinions.reduce((total, { role, confidence_share }) => total + WEIGHTS[role]! * confidence_share, 0);
  return Math.round(sum * SCORE_DIGITS) / SCORE_DIGITS;
}

/** How far the council agrees: of the last whole round, or the arbiter's own confidence. */
export function sessionScore(session: Session): number {
  if (session.status === "arbitrated") return session.opinions.at(-1)!.confidence_share;
  const last = roundOf(session) - 1;
  return scoreOf(session.opinions.filter((opinion) => opinion.round_index === last));
}

/** The answer, once there is one. */
export function responseOf(session: Session): string | null {
  if (session.status === "running") return null;
  const speaker = session.status === "arbitrated" ? ARBITER : "logos";
  return session.opinions.findLast((opinion) => opinion.role === speaker)!.text;
}

/** Return the role that is to be asked next; null if the session is over. */
export function nextStep(session: Session): string | null {
  if (session.status !== "running") return null;
  const round = roundOf(session);
  if (round > ROUNDS_MAX) return ARBITER;
  const spoken = session.opinions.filter((opinion) => opinion.round_index === round).map(({ role }) => role);
  return ROLES.find((role) => !spoken.includes(role))!;
}

/** Return the session after an opinion of the role that was to be asked. */
export function withOpinion(session: Session, opinion: Opinion): Session {
  const after = { ...session, opinions: [...session.opinions, opinion] };
  if (opinion.role === ARBITER) return { ...after, status: "arbitrated" };
  const isAgreed = opinion.role === ROLES[2] && sessionScore(after) >= THRESHOLD_SHARE;
  return isAgreed ? { ...after, status: "agreed" } : after;
}
