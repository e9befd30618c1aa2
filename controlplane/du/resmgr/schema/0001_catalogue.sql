-- The resource manager's part of a deployment unit's database.
CREATE TABLE resmgr_host (
	host TEXT PRIMARY KEY,
	doc  TEXT NOT NULL
);

CREATE TABLE resmgr_resource (
	host        TEXT   NOT NULL,
	kind        TEXT   NOT NULL,
	id          TEXT   NOT NULL,
	name        TEXT   NOT NULL,
	parent_kind TEXT   NOT NULL,
	parent_id   TEXT   NOT NULL,
	source      TEXT   NOT NULL,
	generation  BIGINT NOT NULL,
	hash        BIGINT NOT NULL,
	spec        TEXT   NOT NULL,
	ext         TEXT   NOT NULL,
	PRIMARY KEY (host, kind, id)
);

CREATE TABLE resmgr_event (
	n        BIGINT PRIMARY KEY,
	host     TEXT   NOT NULL,
	received BIGINT NOT NULL,
	epoch    BIGINT NOT NULL,
	seq      BIGINT NOT NULL,
	time     BIGINT NOT NULL,
	type     TEXT   NOT NULL,
	kind     TEXT   NOT NULL,
	id       TEXT   NOT NULL,
	name     TEXT   NOT NULL,
	detail   TEXT   NOT NULL,
	lost     BIGINT NOT NULL,
	UNIQUE (host, epoch, seq, time)
);

CREATE INDEX resmgr_event_host ON resmgr_event (host, n);
