/** Checks of what a client sends: each names the field, shows the value and states the rule. */

import { RequestError } from "./errors.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;
const SHOWN_CHARACTERS = 80;
// What Unicode calls white space, and four separators that count as such in text.
// oxlint-disable-next-line no-control-regex -- they are meant
const BLANK = /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$/;

export type Fields = Record<string, unknown>;

/** Refuse a field: its value, cut to 80 characters, and the rule. */
export function refuse(field: string, value: unknown, rule: string): never {
  const shown = value === undefined || value === null ? "absent" : JSON.stringify(value).slice(0, SHOWN_CHARACTERS);
  throw new RequestError(400, "bad_field", `${field.slice(0, SHOWN_CHARACTERS)}=${shown} ${rule}`);
}

/** Check a name. */
export function name(field: string, value: unknown): string {
  if (typeof value !== "string" || !NAME.test(value)) {
    refuse(field, value, "must be 1 to 128 letters, digits or ._:- and begin with a letter or digit");
  }
  return value;
}

/** Check a text that says something and is not too long. */
export function text(field: string, value: unknown, charactersMax: number): string {
  if (typeof value !== "string" || BLANK.test(value) || [...value].length > charactersMax) {
    refuse(field, value, `must be a text of 1 to ${charactersMax} characters, not only blanks`);
  }
  if (!value.isWellFormed()) refuse(field, value, "must be Unicode without lone surrogates");
  return value;
}

/** Check a whole number; JSON's 5.0 is the number 5 too. */
export function wholeNumber(field: string, value: unknown, atMost: number, atLeast = 0): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < atLeast || value > atMost) {
    refuse(field, value, `must be a whole number in ${atLeast}..${atMost}`);
  }
  return value + 0;
}

/** Check a whole number written in decimal digits, as in a query or a header. */
export function wholeNumberText(field: string, digits: string, atMost: number, atLeast = 0): number {
  if (!/^[0-9]{1,18}$/.test(digits)) refuse(field, digits, `must be a whole number in ${atLeast}..${atMost}`);
  return wholeNumber(field, Number(digits), atMost, atLeast);
}

/** Check that there is no field besides the known ones. */
export function knownFields(fields: Fields, known: readonly string[]): void {
  for (const field of Object.keys(fields).sort()) {
    if (!known.includes(field)) refuse(field, fields[field], `is not known; known are ${known.join(", ")}`);
  }
}

/** Read a body as a JSON object in which no name stands twice: readers differ in which of the two they take. */
export function jsonObject(body: Uint8Array | string): Fields {
  let content: unknown;
  try {
    const source =
      typeof body === "string" ? body : new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
    content = JSON.parse(source);
    if (hasNameTwice(source)) throw new SyntaxError("an object has the same name twice");
  } catch (error) {
    throw new RequestError(400, "bad_json", `the body is no JSON: ${(error as Error).message}`);
  }
  if (typeof content !== "object" || content === null || Array.isArray(content)) {
    throw new RequestError(400, "bad_json", "the body must be a JSON object");
  }
  return content as Fields;
}

/** Whether some object of a valid JSON text has one name twice. */
function hasNameTwice(source: string): boolean {
  const open: (Set<string> | null)[] = [];
  for (const [token, literal] of source.matchAll(/[{}[\]]|("(?:[^"\\]|\\.)*")\s*:|"(?:[^"\\]|\\.)*"/gs)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(null);
    else if (token === "}" || token === "]") open.pop();
    else if (literal !== undefined) {
      const names = open.at(-1);
      const decoded = JSON.parse(literal) as string;
      if (names?.has(decoded)) return true;
      names?.add(decoded);
    }
  }
  return false;
}
