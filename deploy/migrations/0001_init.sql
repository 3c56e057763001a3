-- The brief's schema: six tables, five indexes. This folder is the schema's only source.

-- Who may call.
CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT UNIQUE NOT NULL,
    password_hash TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_login TIMESTAMP
);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT REFERENCES users(id),
    key_hash TEXT NOT NULL, -- only ever the hash of a key
    name TEXT,
    scopes JSON,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,
    last_used TIMESTAMP,
    expires_at TIMESTAMP
);

-- Who pays.
CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    slug TEXT UNIQUE NOT NULL,
    tier TEXT DEFAULT 'free',
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

CREATE TABLE organization_members (
    organization_id TEXT REFERENCES organizations(id),
    user_id TEXT REFERENCES users(id),
    role TEXT DEFAULT 'member',
    PRIMARY KEY (organization_id, user_id)
);

-- The adapters on offer; the bytes are in R2 under r2_key.
CREATE TABLE loras (
    id TEXT PRIMARY KEY,
    owner_id TEXT REFERENCES users(id),
    name TEXT NOT NULL,
    description TEXT,
    domain TEXT NOT NULL,
    base_model TEXT NOT NULL,
    r2_key TEXT NOT NULL,
    version TEXT NOT NULL,
    is_public BOOLEAN DEFAULT false,
    price_cents INTEGER DEFAULT 0,
    downloads INTEGER DEFAULT 0,
    rating_avg REAL,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

-- What was used; filled by the ledger's flush.
CREATE TABLE usage_events (
    id TEXT PRIMARY KEY,
    user_id TEXT REFERENCES users(id),
    organization_id TEXT REFERENCES organizations(id),
    event_type TEXT NOT NULL,
    tokens INTEGER,
    cost_cents INTEGER,
    model TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
);

CREATE INDEX idx_api_keys_user ON api_keys(user_id);
CREATE INDEX idx_loras_domain ON loras(domain);
CREATE INDEX idx_loras_public ON loras(is_public);
CREATE INDEX idx_usage_user ON usage_events(user_id, created_at);
CREATE INDEX idx_usage_org ON usage_events(organization_id, created_at);
