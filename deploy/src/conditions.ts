/** Conditional requests and ranges: which answer the headers of a request ask for, given the stored object.
 *
 * Preconditions in the order of RFC 9110 (13.2.2): If-Match or If-Unmodified-Since, else 412; If-None-Match or
 * If-Modified-Since, else 304, or 412 if the method only writes; Range of a GET unless If-Range is false: 206, or 416 if
 * it begins at or after the end. What cannot be parsed is ignored; multiple ranges are answered with the whole object.
 */

import { RequestError } from "./errors.ts";

const TAG = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/g;
const TAGS = /^[ \t,]*(?:(?:W\/)?"[\x21\x23-\x7e\x80-\xff]*"[ \t]*(?:,[ \t,]*|$))+$/;
const RANGE = /^bytes=[ \t,]*([0-9]*)-([0-9]*)[ \t,]*$/i;
// IMF-fixdate, RFC 850 and asctime.
const DATES = [
  /^[A-Za-z]{3}, [0-9]{1,2} [A-Za-z]{3} [0-9]{4} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2} GMT$/,
  /^[A-Za-z]+day, [0-9]{1,2}-[A-Za-z]{3}-[0-9]{2} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2} GMT$/,
  /^[A-Za-z]{3} [A-Za-z]{3} +[0-9]{1,2} [0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2} [0-9]{4}$/,
];

/** What distinguishes one version of an object from another. */
export interface Validators {
  etag: string;
  uploadedS: number;
}

export function validatorHeaders(validators: Validators): Record<string, string> {
  const modified = new Date(validators.uploadedS * 1000).toUTCString();
  return { etag: `"${validators.etag}"`, "last-modified": modified };
}

/** Return the status that the preconditions of a request demand, 304 or 412; null if all are true. */
export function failedPrecondition(method: string, headers: Headers, validators: Validators): number | null {
  return failedToMatch(headers, validators) ?? failedToDiffer(method, headers, validators);
}

/** Whether a request to write has a precondition. */
export function isConditionalWrite(headers: Headers): boolean {
  return ["if-match", "if-none-match", "if-unmodified-since"].some((name) => headers.has(name));
}

/** Return whether the preconditions of a write forbid it, given what is stored now; null: nothing. */
export function failedToWrite(headers: Headers, validators: Validators | null): boolean {
  return validators === null ? headers.has("if-match") : failedPrecondition("PUT", headers, validators) !== null;
}

/** Return first and last position of the range that a request asks for; null for the whole object. */
export function wantedRange(
  method: string,
  headers: Headers,
  validators: Validators,
  sizeBytes: number,
): [number, number] | null {
  const text = headers.get("range");
  if (method !== "GET" || text === null || !mayBeContinued(headers, validators)) return null;
  return parseRange(text, sizeBytes);
}

/** Parse the range of an object; null if it is not a single range of bytes. Throws 416 if it begins past the end. */
export function parseRange(text: string, sizeBytes: number): [number, number] | null {
  const found = RANGE.exec(text.trim());
  if (!found || (found[1] === "" && found[2] === "")) return null;
  const [, first = "", last = ""] = found;
  let [start, end] = [Number(first), sizeBytes];
  if (first === "") start = Math.max(0, sizeBytes - Number(last));
  else if (last !== "") {
    if (Number(last) < start) return null;
    end = Math.min(end, Number(last) + 1);
  }
  if (start < end) return [start, end - 1];
  // The last n bytes of an empty object are the whole object.
  if (first === "" && Number(last) > 0) return null;
  const message = `range=${JSON.stringify(text.slice(0, 80))} must begin before the end, at ${sizeBytes}`;
  throw new RequestError(416, "range_behind_end", message, { "content-range": `bytes */${sizeBytes}` });
}

/** Parse an HTTP date into seconds since 1970; null if it is none. */
export function parseDate(text: string | null): number | null {
  const trimmed = text?.trim() ?? "";
  if (!DATES.some((shape) => shape.test(trimmed))) return null;
  const ms = Date.parse(trimmed.endsWith("GMT") ? trimmed : `${trimmed} GMT`);
  return Number.isNaN(ms) ? null : ms / 1000;
}

function failedToMatch(headers: Headers, validators: Validators): number | null {
  const tags = headers.get("if-match");
  if (tags !== null) return isListed(tags, validators, false) ? null : 412;
  const sinceS = parseDate(headers.get("if-unmodified-since"));
  return sinceS === null || validators.uploadedS <= sinceS ? null : 412;
}

function failedToDiffer(method: string, headers: Headers, validators: Validators): number | null {
  const isRead = method === "GET" || method === "HEAD";
  const tags = headers.get("if-none-match");
  if (tags !== null) return !isListed(tags, validators, true) ? null : isRead ? 304 : 412;
  const sinceS = parseDate(headers.get("if-modified-since"));
  return !isRead || sinceS === null || validators.uploadedS > sinceS ? null : 304;
}

/** Evaluate If-Range: whether the client's part and the stored object are of one version. */
function mayBeContinued(headers: Headers, validators: Validators): boolean {
  const text = headers.get("if-range")?.trim();
  if (text === undefined) return true;
  const tag = /^(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"$/.exec(text);
  return tag ? !tag[1] && tag[2] === validators.etag : parseDate(text) === validators.uploadedS;
}

function isListed(text: string, validators: Validators, weakly: boolean): boolean {
  if (text.trim() === "*") return true;
  if (!TAGS.test(text)) return false;
  return [...text.matchAll(TAG)].some(([, isWeak, tag]) => tag === validators.etag && (weakly || !isWeak));
}
