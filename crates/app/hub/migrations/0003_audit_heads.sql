-- Ends of boxes' audit logs, each once, as their attestation keys signed them. `n` counts what a box told, so that the last
-- word is known whatever the clock does.
CREATE TABLE audit_heads (
    box_name TEXT NOT NULL REFERENCES boxes (name),
    attestation_key TEXT NOT NULL,
    seq BIGINT NOT NULL,
    hash TEXT NOT NULL,
    n BIGINT NOT NULL,
    received BIGINT NOT NULL,
    problem TEXT,
    head TEXT NOT NULL,
    PRIMARY KEY (box_name, attestation_key, seq, hash)
);
CREATE INDEX audit_heads_told ON audit_heads (box_name, n);
