-- Actions that were asked of hosts. Times are microseconds since 1970.
CREATE TABLE action (
	id        TEXT   PRIMARY KEY,
	host      TEXT   NOT NULL,
	actor     TEXT   NOT NULL, -- who asked
	key       TEXT   NOT NULL, -- the idempotency key
	digest    TEXT   NOT NULL, -- of what was asked with the key
	requested BIGINT NOT NULL,
	ended     BIGINT NOT NULL, -- 0: not yet
	doc       TEXT   NOT NULL, -- JSON, without secrets
	UNIQUE (actor, key)
);

CREATE INDEX action_host ON action (host, requested, id);
CREATE INDEX action_ended ON action (ended, id);
