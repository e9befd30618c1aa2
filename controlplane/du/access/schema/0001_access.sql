CREATE TABLE api_token (
	id      TEXT PRIMARY KEY,
	name    TEXT NOT NULL,
	level   INTEGER NOT NULL,
	hash    TEXT NOT NULL, -- SHA-256 of the secret, hexadecimal
	created TEXT NOT NULL, -- RFC 3339, UTC
	expires TEXT NOT NULL  -- empty: never
);
