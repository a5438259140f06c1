-- Small rows that change often (leases) are apart from large ones: SQLite writes a row anew as a whole.
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, body BLOB NOT NULL, owner TEXT NOT NULL, background INTEGER NOT NULL,
    expires REAL  -- null while it goes on
);
CREATE INDEX IF NOT EXISTS runs_expire ON runs (expires) WHERE expires IS NOT NULL;
CREATE TABLE IF NOT EXISTS questions (id TEXT PRIMARY KEY, input BLOB NOT NULL, context BLOB NOT NULL, work BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS leases (
    id TEXT PRIMARY KEY, holder TEXT NOT NULL, number INTEGER NOT NULL, lapses REAL NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS leases_lapse ON leases (lapses);
CREATE TABLE IF NOT EXISTS entries (id TEXT, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (id, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps (id TEXT, number INTEGER, data BLOB NOT NULL, PRIMARY KEY (id, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS kept (key TEXT PRIMARY KEY, data BLOB NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS kept_expire ON kept (expires);
CREATE TABLE IF NOT EXISTS counts (
    key TEXT, seconds INTEGER, number INTEGER, used INTEGER NOT NULL, expires REAL NOT NULL,
    PRIMARY KEY (key, seconds, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS counts_expire ON counts (expires);
CREATE TABLE IF NOT EXISTS labels (
    label TEXT, kind TEXT, id TEXT, PRIMARY KEY (label, kind, id)  -- kind: run or value
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS labels_of ON labels (kind, id);
CREATE TABLE IF NOT EXISTS purged (label TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS run_gone AFTER DELETE ON runs
    BEGIN DELETE FROM labels WHERE kind = 'run' AND id = old.id; END;
CREATE TRIGGER IF NOT EXISTS value_gone AFTER DELETE ON kept
    BEGIN DELETE FROM labels WHERE kind = 'value' AND id = old.key; END;
CREATE TABLE IF NOT EXISTS changes (number INTEGER NOT NULL);  -- of leases that were released, runs that were cancelled
INSERT INTO changes SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM changes);
