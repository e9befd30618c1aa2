CREATE TABLE authority (
	id      INTEGER PRIMARY KEY,
	du      TEXT NOT NULL,
	cert    TEXT NOT NULL, -- PEM
	key     TEXT NOT NULL, -- PEM; the database file is its owner's only
	created TEXT NOT NULL
);
CREATE TABLE certificate (
	serial     TEXT PRIMARY KEY,
	host       TEXT NOT NULL,
	kind       TEXT NOT NULL,
	not_before TEXT NOT NULL,
	not_after  TEXT NOT NULL,
	issued     TEXT NOT NULL,
	how        TEXT NOT NULL, -- "token <id>" or "renewal"
	revoked    TEXT NOT NULL, -- empty: in force
	reason     TEXT NOT NULL
);
CREATE INDEX certificate_host ON certificate (host);
CREATE TABLE join_token (
	id          TEXT PRIMARY KEY,
	hash        TEXT NOT NULL,
	kind        TEXT NOT NULL,
	host        TEXT NOT NULL, -- empty: any
	description TEXT NOT NULL,
	created     TEXT NOT NULL,
	created_by  TEXT NOT NULL,
	expires     TEXT NOT NULL,
	uses        INTEGER NOT NULL,
	left_uses   INTEGER NOT NULL,
	revoked     INTEGER NOT NULL
);
