-- The store's own tables. All names begin with _hr_, which declared tables cannot.

-- format: the layout of this file; txn: the last commit stamp; schema:<table>: the declaration that <table> was built for.
CREATE TABLE IF NOT EXISTS _hr_meta (
    name TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

-- Where each source stands, written in the transaction that holds what it brought up to there.
CREATE TABLE IF NOT EXISTS _hr_positions (
    table_name TEXT NOT NULL,
    partition TEXT NOT NULL,
    position TEXT,
    frontier INTEGER,            -- complete up to this instant, microseconds
    updated INTEGER NOT NULL,    -- commit stamp
    PRIMARY KEY (table_name, partition)
) WITHOUT ROWID;

-- Records that broke their contract, until they are replayed or dropped. AUTOINCREMENT: a number is never given twice.
CREATE TABLE IF NOT EXISTS _hr_quarantine (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    table_name TEXT NOT NULL,
    partition TEXT NOT NULL,
    position TEXT NOT NULL,
    rule TEXT NOT NULL,
    column_name TEXT NOT NULL,
    value TEXT NOT NULL,
    message TEXT NOT NULL,
    at INTEGER NOT NULL,         -- commit stamp
    raw BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS _hr_quarantine__by_table ON _hr_quarantine (table_name, rule);

-- What was answered to a producer's idempotency key, so that asking again changes nothing.
CREATE TABLE IF NOT EXISTS _hr_idempotency (
    table_name TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,        -- SHA-256 of the body
    receipt TEXT NOT NULL,       -- JSON
    txn INTEGER NOT NULL,
    PRIMARY KEY (table_name, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS _hr_idempotency__by_txn ON _hr_idempotency (txn);

-- What a person should see now; emptied when an engine starts, for its sources will say so again.
CREATE TABLE IF NOT EXISTS _hr_problems (
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    hint TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (subject, kind)
) WITHOUT ROWID;

-- The latest event time of each stream.
CREATE TABLE IF NOT EXISTS _hr_watermarks (
    table_name TEXT PRIMARY KEY,
    at INTEGER NOT NULL
) WITHOUT ROWID;

-- Totals since the store was made.
CREATE TABLE IF NOT EXISTS _hr_counters (
    table_name TEXT NOT NULL,
    counter TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (table_name, counter)
) WITHOUT ROWID;

-- Full copies under way: keys whose row is older than `started` and that the copy does not bring are deleted at its end.
CREATE TABLE IF NOT EXISTS _hr_snapshots (
    table_name TEXT PRIMARY KEY,
    started INTEGER NOT NULL,    -- commit stamp of the first part
    shows INTEGER,               -- the instant that the copy shows; a part with another one begins a new copy
    compare INTEGER NOT NULL,    -- 1: the table had rows at the start, so the keys that the copy brings are noted
    resumable INTEGER NOT NULL   -- 1: its source has a position inside the copy and goes on from there after a crash
) WITHOUT ROWID;

-- What of a full copy under way is stored, in the words of its source: it need not bring that again.
CREATE TABLE IF NOT EXISTS _hr_copies (
    table_name TEXT PRIMARY KEY,
    note TEXT NOT NULL
) WITHOUT ROWID;
