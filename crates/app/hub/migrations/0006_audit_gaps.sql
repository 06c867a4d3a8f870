-- How many entries there are between an end of a log and the one that was told before it.
ALTER TABLE audit_heads ADD COLUMN unseen BIGINT NOT NULL DEFAULT 0;
CREATE INDEX audit_heads_problems ON audit_heads (box_name, attestation_key) WHERE problem IS NOT NULL;
CREATE INDEX audit_heads_gaps ON audit_heads (box_name, attestation_key) WHERE unseen > 0;

-- Boxes whose reports have no good end of their log, though they had one, or have a bad one; since when, and why.
CREATE TABLE audit_absent (
    box_name TEXT PRIMARY KEY REFERENCES boxes (name),
    attestation_key TEXT NOT NULL,
    since BIGINT NOT NULL,
    why TEXT NOT NULL
);
