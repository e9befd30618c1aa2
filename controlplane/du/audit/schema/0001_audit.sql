CREATE TABLE audit (
	id      INTEGER PRIMARY KEY,
	at      TEXT NOT NULL, -- RFC 3339, UTC
	actor   TEXT NOT NULL,
	action  TEXT NOT NULL,
	object  TEXT NOT NULL,
	outcome TEXT NOT NULL, -- done, refused, failed
	reason  TEXT NOT NULL,
	remote  TEXT NOT NULL,
	times   INTEGER NOT NULL
);
