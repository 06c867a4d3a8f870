-- Challenges as they came (`signed` holds bytes and signature, base64), with what the hub found when it looked at the signature.
CREATE TABLE challenges (
    box_name TEXT NOT NULL REFERENCES boxes (name),
    digest TEXT NOT NULL,
    operation TEXT NOT NULL,
    signed TEXT NOT NULL,
    attestation_key TEXT NOT NULL,
    problem TEXT,
    consented TEXT NOT NULL,
    received BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    is_open BIGINT NOT NULL,
    PRIMARY KEY (box_name, digest)
);
CREATE INDEX challenges_digest ON challenges (digest);
CREATE INDEX challenges_operation ON challenges (box_name, operation);

-- What people say to boxes, until the box has judged it and after.
CREATE TABLE messages (
    id TEXT PRIMARY KEY,
    box_name TEXT NOT NULL REFERENCES boxes (name),
    kind TEXT NOT NULL,
    about TEXT NOT NULL,
    body TEXT NOT NULL,
    author TEXT NOT NULL,
    created BIGINT NOT NULL,
    delivered BIGINT,
    accepted BIGINT,
    why TEXT,
    renewed TEXT
);
CREATE INDEX messages_box ON messages (box_name, accepted, id);
CREATE INDEX messages_about ON messages (box_name, about, id);
