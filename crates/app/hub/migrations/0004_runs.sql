-- A box's requests are taken in turn: each run of its agent, in the order in which they began to speak, with the last request
-- that was taken. A box is one of them: those before it say nothing any more. It replaces the list of nonces.
DROP TABLE nonces;
CREATE TABLE runs (
    box_name TEXT NOT NULL REFERENCES boxes (name),
    run TEXT NOT NULL,
    began BIGINT NOT NULL,
    taken BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (box_name, run)
);
CREATE INDEX runs_seen ON runs (seen);
