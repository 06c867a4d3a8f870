-- One SQL text for SQLite and PostgreSQL. Times are milliseconds since 1970; documents are JSON text, byte for byte.

CREATE TABLE operators (
    name TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,
    password_hash TEXT,
    created BIGINT NOT NULL
);

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY,
    operator TEXT NOT NULL REFERENCES operators (name) ON DELETE CASCADE,
    csrf TEXT NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX sessions_expires ON sessions (expires);

-- What the hub knows of a box by itself. The keys are absent until it enrolled.
CREATE TABLE boxes (
    name TEXT PRIMARY KEY,
    box_id TEXT UNIQUE,
    epoch BIGINT NOT NULL,
    device_key TEXT,
    attestation_key TEXT,
    hostname TEXT,
    created BIGINT NOT NULL,
    enrolled BIGINT
);

CREATE TABLE tickets (
    token_hash TEXT PRIMARY KEY,
    box_name TEXT NOT NULL REFERENCES boxes (name),
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    used BIGINT,
    used_by TEXT
);
CREATE INDEX tickets_box ON tickets (box_name, created);

-- The narrow row that every sync touches, apart from the wide ones.
CREATE TABLE sightings (
    box_name TEXT PRIMARY KEY REFERENCES boxes (name),
    last_seen BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    document_digest TEXT
);

CREATE TABLE nonces (
    box_name TEXT NOT NULL,
    nonce TEXT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (box_name, nonce)
);
CREATE INDEX nonces_seen ON nonces (seen);

-- The newest report, whole, and what the fleet page needs of it.
CREATE TABLE reports (
    box_name TEXT PRIMARY KEY REFERENCES boxes (name),
    received BIGINT NOT NULL,
    body TEXT NOT NULL,
    facts TEXT NOT NULL
);

CREATE TABLE desired_states (
    box_name TEXT NOT NULL REFERENCES boxes (name),
    generation BIGINT NOT NULL,
    author TEXT NOT NULL,
    time BIGINT NOT NULL,
    message TEXT NOT NULL,
    spec TEXT NOT NULL,
    prev_hash TEXT,
    document TEXT,
    signature TEXT,
    PRIMARY KEY (box_name, generation)
);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    box_name TEXT NOT NULL REFERENCES boxes (name),
    kind TEXT NOT NULL,
    params TEXT NOT NULL,
    author TEXT NOT NULL,
    created BIGINT NOT NULL,
    deadline BIGINT NOT NULL,
    state TEXT NOT NULL,
    message TEXT NOT NULL,
    operation TEXT,
    is_final BIGINT NOT NULL,
    delivered BIGINT
);
CREATE INDEX jobs_box ON jobs (box_name, is_final, id);

CREATE TABLE operations (
    box_name TEXT NOT NULL REFERENCES boxes (name),
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    state TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (box_name, id)
);

CREATE TABLE receipts (
    box_name TEXT NOT NULL REFERENCES boxes (name),
    digest TEXT NOT NULL,
    guest TEXT,
    taken_at BIGINT,
    started BIGINT,
    proven BIGINT NOT NULL,
    problem TEXT,
    body TEXT NOT NULL,
    PRIMARY KEY (box_name, digest)
);
CREATE INDEX receipts_guest ON receipts (box_name, guest, taken_at);

CREATE TABLE events (
    id TEXT PRIMARY KEY,
    box_name TEXT NOT NULL REFERENCES boxes (name),
    time BIGINT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX events_box ON events (box_name, id);
