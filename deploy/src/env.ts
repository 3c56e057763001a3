/** The bindings of the Worker, under the brief's names, and its settings. */
export interface Env {
  DB: D1Database;
  STORAGE: R2Bucket;
  BILLING_LEDGER: DurableObjectNamespace;
  CLOUD_SYNAPSE: DurableObjectNamespace;
  USAGE_METER: DurableObjectNamespace;
  /** Secret: who may ask for what (access.ts). Without it everybody may ask for anything. */
  ACCESS_KEYS?: string;
  /** "1" lets a deployment without ACCESS_KEYS serve; it is set where only this machine can reach it. */
  OPEN_ACCESS?: string;
  LEDGER_POLICY?: string;
  LEDGER_FLUSH_INTERVAL_S?: string;
  LEDGER_FLUSH_CHUNK_ROWS?: string;
  /** How many objects share all organisations; absent: each has its own. */
  LEDGER_SHARDS?: string;
}
