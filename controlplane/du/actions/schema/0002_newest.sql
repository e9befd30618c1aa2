-- Lists are of all hosts, newest first; those of one host are read from them.
CREATE INDEX action_newest ON action (requested, id);
DROP INDEX action_host;
